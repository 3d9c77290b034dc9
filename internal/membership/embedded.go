package membership

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/embed"
)

// EmbeddedConfig describes an etcd inside this process. Zero values mean the defaults.
type EmbeddedConfig struct {
	Dir        string // data; created if missing; required
	ClientAddr string // host:port for clients; default 127.0.0.1:0, a free port
	// NoFsync trades the last moments before a power cut for speed. For tests, and for
	// clusters that are built anew on every start.
	NoFsync bool
	Log     *slog.Logger // default: discard
}

// Embedded is a running single-member etcd.
type Embedded struct {
	etcd  *embed.Etcd
	lock  *fileutil.LockedFile
	close func() error
}

const (
	// A single member has nobody to lose an election to, so its clock may tick fast; the
	// shortest lease that etcd grants is 1.5 election timeouts, here one second, not two.
	embeddedTick     = 50 * time.Millisecond
	embeddedElection = 500 * time.Millisecond
	// embeddedReady: replaying a log on a loaded disk takes seconds, never a minute.
	embeddedReady = time.Minute
	// embeddedHistory is how many revisions are kept for watchers that fell behind; those
	// further behind read everything again.
	embeddedHistory = "1000"
)

// StartEmbedded starts a single-member etcd on this machine and waits until it serves. A second
// start on the same directory, by any process, fails at once.
func StartEmbedded(cfg EmbeddedConfig) (*Embedded, error) {
	if cfg.Dir == "" {
		return nil, errors.New("start embedded etcd: no directory given")
	}
	if cfg.ClientAddr == "" {
		cfg.ClientAddr = "127.0.0.1:0"
	}
	if _, _, err := net.SplitHostPort(cfg.ClientAddr); err != nil {
		return nil, fmt.Errorf("start embedded etcd: client address: %w", err)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("start embedded etcd in %s: %w", cfg.Dir, err)
	}
	etcd, err := serveEtcd(cfg)
	if err != nil {
		return nil, errors.Join(
			fmt.Errorf("start embedded etcd in %s: %w", cfg.Dir, err), lock.Close())
	}
	e := &Embedded{etcd: etcd, lock: lock}
	e.close = sync.OnceValue(func() error {
		cutClients(etcd)
		etcd.Close()
		return lock.Close()
	})
	return e, nil
}

// lockDir creates dir and locks it for this process. etcd itself waits for ever on a data
// directory in use.
func lockDir(dir string) (*fileutil.LockedFile, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "conclave.lock")
	lock, err := fileutil.TryLockFile(path, os.O_WRONLY|os.O_CREATE, fileutil.PrivateFileMode)
	if errors.Is(err, fileutil.ErrLocked) {
		return nil, fmt.Errorf("another etcd is running on this directory (%s is locked)", path)
	}
	return lock, err
}

// serveEtcd starts the server and waits until it is ready.
func serveEtcd(cfg EmbeddedConfig) (*embed.Etcd, error) {
	etcd, err := embed.StartEtcd(etcdConfig(cfg))
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(embeddedReady)
	defer timer.Stop()
	select {
	case <-etcd.Server.ReadyNotify():
		return etcd, nil
	case err = <-etcd.Err():
	case <-etcd.Server.StopNotify():
		err = errors.New("server stopped while starting")
	case <-timer.C:
		err = fmt.Errorf("not ready after %v", embeddedReady)
	}
	etcd.Close()
	return nil, err
}

func etcdConfig(cfg EmbeddedConfig) *embed.Config {
	clients := []url.URL{{Scheme: "http", Host: cfg.ClientAddr}}
	peers := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}} // nobody ever calls
	ec := embed.NewConfig()
	ec.Name = "conclave"
	ec.Dir = filepath.Join(cfg.Dir, "etcd")
	ec.ListenClientUrls, ec.AdvertiseClientUrls = clients, clients
	ec.ListenPeerUrls, ec.AdvertisePeerUrls = peers, peers
	ec.InitialCluster = ec.InitialClusterFromName(ec.Name)
	// etcd derives the cluster's id from this: another data directory is another cluster, and
	// clients notice.
	ec.InitialClusterToken = NewIncarnation()
	ec.TickMs = uint(embeddedTick.Milliseconds())
	ec.ElectionMs = uint(embeddedElection.Milliseconds())
	ec.AutoCompactionMode = embed.CompactorModeRevision
	ec.AutoCompactionRetention = embeddedHistory
	ec.EnableGRPCGateway = false
	ec.UnsafeNoFsync = cfg.NoFsync
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(
		zapLogger(cfg.Log.With("component", "etcd")))
	return ec
}

// cutClients ends the clients' streams. etcd's own Close waits six seconds for them to end by
// themselves, which a watch never does, unless it loses a race: a listener that fails first
// makes the server drop its connections.
func cutClients(etcd *embed.Etcd) {
	for _, l := range etcd.Clients {
		_ = l.Close() // etcd closes it again
	}
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	// One error each from HTTP, from gRPC, and last from the server over both.
	for range 3 {
		select {
		case <-etcd.Err():
		case <-timer.C:
			return
		}
	}
}

// Endpoint is the address that clients connect to, host:port.
func (e *Embedded) Endpoint() string { return e.etcd.Clients[0].Addr().String() }

// Close stops the server and frees the directory. It may be called more than once.
func (e *Embedded) Close() error {
	if err := e.close(); err != nil {
		return fmt.Errorf("close embedded etcd: %w", err)
	}
	return nil
}
