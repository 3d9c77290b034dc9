package openai

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/conclave-serve/conclave/internal/chat"
	"github.com/conclave-serve/conclave/internal/grammar"
	"github.com/conclave-serve/conclave/internal/obs"
	"github.com/conclave-serve/conclave/internal/tokenizer"
	"github.com/conclave-serve/conclave/model"
)

const (
	// defaultMaxBody holds a chat of a million tokens with room to spare.
	defaultMaxBody = 32 << 20
	// defaultBodyTimeout lets a body of the largest size arrive at 5 Mbit/s; a
	// client that sends none holds a connection no longer.
	defaultBodyTimeout = time.Minute
	// defaultMaxChoices bounds the sequences that one request starts; a batch
	// rarely holds more.
	defaultMaxChoices = 64
	// defaultStoredResponses and defaultStoredBytes let some hundred
	// conversations go on, and stay small beside the KV cache.
	defaultStoredResponses = 1000
	defaultStoredBytes     = 64 << 20
)

// Config says what a Server serves and with what.
type Config struct {
	// ModelName is the id under which clients know the model. Required.
	ModelName string
	// Created is the model's date in /v1/models; zero means now.
	Created time.Time
	// Spec, Tokenizer and Engine are the model. Required.
	Spec      *model.Spec
	Tokenizer *tokenizer.Tokenizer
	Engine    Engine
	// Template renders chats; without one, chat completions are refused.
	Template *chat.Template
	// Dialect is how the model writes reasoning and calls of functions; nil means
	// what the template tells.
	Dialect *chat.Dialect
	// MaxBody is the size of the largest request body in bytes; 0 means 32 MiB.
	MaxBody int64
	// BodyTimeout is how long a request's body may take to arrive; 0 means a
	// minute.
	BodyTimeout time.Duration
	// RequestTimeout is how long a completion may take, from the arrival of its
	// request to its last token; 0 means no bound but the client's own.
	RequestTimeout time.Duration
	// Access says who may use the API; the zero value is everybody.
	Access Access
	// Pages are answers to GET at further paths, behind the same keys.
	Pages map[string]http.Handler
	// Actions are answers to POST at further paths, behind the same keys.
	Actions map[string]http.Handler
	// Version is what /version tells; Quantization what /v1/models tells of weights
	// that are not the checkpoint's own, "" if they are.
	Version, Quantization string
	// MaxChoices is the largest number of completions that one request may ask
	// for, over all its prompts; 0 means 64.
	MaxChoices int
	// StoredResponses and StoredBytes bound what /v1/responses keeps for later
	// requests to go on from; 0 means 1000 and 64 MiB.
	StoredResponses int
	StoredBytes     int64
	// Registry receives the metrics that /metrics serves; nil means one of its
	// own.
	Registry *prometheus.Registry
	// Tracing starts the spans of requests; nil means none.
	Tracing *obs.Tracing
	// Log receives one record per request; nil means none.
	Log *slog.Logger
}

func (c *Config) validate() error {
	var problems []error
	if c.ModelName == "" {
		problems = append(problems, errors.New("no ModelName"))
	}
	if c.Spec == nil {
		problems = append(problems, errors.New("no Spec"))
	}
	if c.Tokenizer == nil {
		problems = append(problems, errors.New("no Tokenizer"))
	}
	if c.Engine == nil {
		problems = append(problems, errors.New("no Engine"))
	}
	if c.MaxBody < 0 {
		problems = append(problems, fmt.Errorf("negative MaxBody: %d", c.MaxBody))
	}
	if c.BodyTimeout < 0 {
		problems = append(problems, fmt.Errorf("negative BodyTimeout: %v", c.BodyTimeout))
	}
	if c.RequestTimeout < 0 {
		problems = append(problems, fmt.Errorf("negative RequestTimeout: %v", c.RequestTimeout))
	}
	problems = append(problems, c.Access.Check())
	if c.MaxChoices < 0 {
		problems = append(problems, fmt.Errorf("negative MaxChoices: %d", c.MaxChoices))
	}
	if c.StoredResponses < 0 {
		problems = append(problems, fmt.Errorf("negative StoredResponses: %d", c.StoredResponses))
	}
	if c.StoredBytes < 0 {
		problems = append(problems, fmt.Errorf("negative StoredBytes: %d", c.StoredBytes))
	}
	if c.Spec != nil && c.Tokenizer != nil && c.Tokenizer.Size() > c.Spec.Vocab {
		problems = append(problems, fmt.Errorf("the tokenizer has %d ids, but the model only %d",
			c.Tokenizer.Size(), c.Spec.Vocab))
	}
	return errors.Join(problems...)
}

// Server answers OpenAI's API for one model.
type Server struct {
	cfg      Config
	vocab    int // ids that may occur in a prompt
	controls *controls
	dialect  *chat.Dialect         // nil without a template
	grammars func() *grammar.Cache // made when the first is needed
	metrics  *metrics
	keys     *keys // nil: nobody needs one
	pace     pace

	responses *responseStore

	// Tests replace these to get the same transcripts every time.
	now        func() time.Time
	newID      func() string
	randomSeed func() uint64
	// asked, if a test sets it, hears of every field that a request is looked
	// through for.
	asked func(name string)
}

// New returns a Server. The error lists everything that is wrong with cfg.
func New(cfg Config) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("openai: %w", err)
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = defaultMaxBody
	}
	if cfg.BodyTimeout == 0 {
		cfg.BodyTimeout = defaultBodyTimeout
	}
	if cfg.MaxChoices == 0 {
		cfg.MaxChoices = defaultMaxChoices
	}
	if cfg.StoredResponses == 0 {
		cfg.StoredResponses = defaultStoredResponses
	}
	if cfg.StoredBytes == 0 {
		cfg.StoredBytes = defaultStoredBytes
	}
	if cfg.Registry == nil {
		cfg.Registry = prometheus.NewRegistry()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Created.IsZero() {
		cfg.Created = time.Now()
	}
	keys, err := newKeys(&cfg.Access, cfg.Log)
	if err != nil {
		return nil, fmt.Errorf("openai: %w", err)
	}
	m, err := newMetrics(cfg.Registry, cfg.ModelName, cfg.Engine)
	if err != nil {
		return nil, fmt.Errorf("openai: %w", err)
	}
	dialect := cfg.Dialect
	if dialect == nil && cfg.Template != nil {
		dialect = cfg.Template.Dialect()
	}
	controls := newControls(cfg.Tokenizer)
	return &Server{
		cfg: cfg, vocab: cfg.Tokenizer.Size(), controls: controls,
		dialect: dialect, metrics: m, keys: keys,
		grammars: sync.OnceValue(func() *grammar.Cache {
			return newGrammars(cfg.Tokenizer, controls)
		}),
		responses: newResponseStore(cfg.StoredResponses, cfg.StoredBytes),
		now:       time.Now, newID: newID, randomSeed: randomSeed,
	}, nil
}

// routes gathers what is served where.
type routes struct {
	server *Server
	mux    *http.ServeMux
}

// add serves the methods of a path and refuses all others.
func (t routes) add(path string, methods map[string]handler) {
	for method, h := range methods {
		t.mux.Handle(method+" "+path, t.server.serve(path, h))
	}
	t.mux.Handle(path, t.server.serve(path, notAllowed(slices.Sorted(maps.Keys(methods))...)))
}

// get serves GET to whoever has a key.
func (t routes) get(path string, h handler) {
	t.add(path, map[string]handler{http.MethodGet: t.server.keyed(h)})
}

// post serves POST to whoever has a key.
func (t routes) post(path string, h handler) {
	t.add(path, map[string]handler{http.MethodPost: t.server.keyed(h)})
}

// open serves GET to everybody.
func (t routes) open(path string, h handler) {
	t.add(path, map[string]handler{http.MethodGet: h})
}

// plain makes a handler of an ordinary one.
func plain(h http.Handler) handler {
	return func(w http.ResponseWriter, r *http.Request, _ *exchange) *apiError {
		h.ServeHTTP(w, r)
		return nil
	}
}

// Handler returns the HTTP handler.
func (s *Server) Handler() http.Handler {
	t := routes{s, http.NewServeMux()}
	t.post("/v1/chat/completions", s.timed(s.chat))
	t.post("/v1/completions", s.timed(s.completions))
	t.post("/v1/responses", s.timed(s.createResponse))
	t.add("/v1/responses/{id}", map[string]handler{
		http.MethodGet: s.keyed(s.getResponse), http.MethodDelete: s.keyed(s.deleteResponse),
	})
	t.get("/v1/models", s.models)
	t.get("/v1/models/{id...}", s.model)
	t.post("/tokenize", s.tokenize)
	t.post("/detokenize", s.detokenize)
	t.get("/version", s.version)
	for _, path := range []string{"/v1/embeddings", "/v1/rerank", "/rerank", "/v1/score", "/score",
		"/pooling", "/classify"} {
		t.post(path, s.onlyText)
	}
	for path, page := range s.cfg.Pages {
		t.get(path, plain(page))
	}
	for path, action := range s.cfg.Actions {
		t.post(path, plain(action))
	}
	t.open("/healthz", s.healthz)
	t.open("/health", s.healthz)
	t.add("/ping", map[string]handler{http.MethodGet: s.healthz, http.MethodPost: s.healthz})
	t.open("/readyz", s.readyz)
	t.open("/metrics", plain(promhttp.HandlerFor(s.cfg.Registry, promhttp.HandlerOpts{})))
	t.mux.Handle("/", s.serve("other", s.keyed(unknownPath)))
	return s.cors(t.mux)
}

// notAllowed refuses the methods that a path does not have.
func notAllowed(allowed ...string) handler {
	if slices.Contains(allowed, http.MethodGet) {
		allowed = append(allowed, http.MethodHead)
	}
	return func(w http.ResponseWriter, r *http.Request, _ *exchange) *apiError {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return &apiError{
			status: http.StatusMethodNotAllowed, kind: typeInvalid, code: "method_not_supported",
			message: fmt.Sprintf("Not allowed to %s on %s.", r.Method, r.URL.Path),
		}
	}
}

func unknownPath(_ http.ResponseWriter, r *http.Request, _ *exchange) *apiError {
	return &apiError{
		status: http.StatusNotFound, kind: typeInvalid, code: "unknown_url",
		message: fmt.Sprintf("Unknown request URL: %s %s.", r.Method, r.URL.Path),
	}
}

// newID returns 128 random bits in hexadecimal.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func randomSeed() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}
