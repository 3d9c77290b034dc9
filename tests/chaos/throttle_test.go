//go:build linux

package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// period is what a slow process gets its part of. Kernel and fallback use the same.
const period = 50 * time.Millisecond

// groupPrefix is that of the cgroups of this test; those of a run that was killed
// are empty, and the next run removes them.
const groupPrefix = "conclave-chaos-"

// cpuGroups returns the folder of cgroups (v1) that limit CPU time, or "".
func cpuGroups() string {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) > 3 && f[2] == "cgroup" && slices.Contains(strings.Split(f[3], ","), "cpu") {
			return f[1]
		}
	}
	return ""
}

// removeGroups removes cgroups that an earlier run left.
func removeGroups() {
	left, _ := filepath.Glob(filepath.Join(cpuGroups(), groupPrefix+"*")) // well-formed
	for _, dir := range left {
		_ = os.Remove(dir) // of a run that is still under way it is not empty
	}
}

// throttle gives a process a part of a core for a while.
func (c *cluster) throttle(ctx context.Context, p *process, f fault) error {
	root := cpuGroups()
	group := filepath.Join(root, fmt.Sprintf("%s%d-%s", groupPrefix, os.Getpid(), p.name))
	if root == "" || os.Mkdir(group, 0o700) != nil {
		stutter(ctx, p, f)
		return nil
	}
	write := func(dir, file string, value int) error {
		return os.WriteFile(filepath.Join(dir, file), fmt.Append(nil, value), 0o600)
	}
	err := errors.Join(
		write(group, "cpu.cfs_period_us", int(period.Microseconds())),
		write(group, "cpu.cfs_quota_us", int(f.Quota*float64(period.Microseconds()))),
		write(group, "cgroup.procs", p.pid()))
	wait(ctx, f.Hold)
	return errors.Join(err, write(root, "cgroup.procs", p.pid()), removeSoon(ctx, group))
}

// removeSoon removes a cgroup, which may be busy for a moment after it was left.
func removeSoon(ctx context.Context, group string) error {
	return await(ctx, 5*time.Second, func(context.Context) error { return os.Remove(group) })
}

// stutter stops a process over and over, for those who may not make cgroups.
func stutter(ctx context.Context, p *process, f fault) {
	ctx, cancel := context.WithTimeout(ctx, f.Hold)
	defer cancel()
	run := time.Duration(f.Quota * float64(period))
	for ctx.Err() == nil {
		p.signal(syscall.SIGSTOP)
		wait(ctx, period-run)
		p.signal(syscall.SIGCONT)
		wait(ctx, run)
	}
}
