package imagetest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// user is that of the image's configuration.
const user = 65532

// contained is the name under which this program starts itself to become what is in the image.
const contained = "contained"

func TestMain(m *testing.M) {
	if os.Args[0] == contained {
		err := becomeContained(os.Args[1], os.Args[2], os.Args[3:])
		fmt.Fprintln(os.Stderr, "contained:", err)
		os.Exit(125) //nolint:forbidigo // this process is no test
	}
	os.Exit(m.Run()) //nolint:forbidigo // this is what a TestMain is for
}

// contain prepares a command that runs program as a container would: with root as its root file system and config at
// /etc/quaygen, both read-only, as the first process of its own namespace of processes, as the image's user, without a
// capability, and without any variable in its environment. The network is that of the machine, so that it reaches a
// Quay on loopback.
func contain(ctx context.Context, root, config string, program ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err) // Linux knows
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Args = append([]string{contained, root, config}, program...)
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if uid := os.Getuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: user, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: user, HostID: os.Getgid(), Size: 1}}
		cmd.SysProcAttr.AmbientCaps = []uintptr{capSysChroot, capSysAdmin} // until becomeContained gives them up
	}
	return cmd
}

// Numbers that package syscall does not have.
const (
	capSysChroot       = 18
	capSysAdmin        = 21
	prSetNoNewPrivs    = 38
	prCapAmbient       = 47
	prCapAmbientClear  = 4
	readOnly           = syscall.MS_BIND | syscall.MS_REMOUNT | syscall.MS_RDONLY
	recursivelyPrivate = syscall.MS_REC | syscall.MS_PRIVATE
)

// becomeContained turns this process, in namespaces of its own, into program. It returns only if that fails.
func becomeContained(root, config string, program []string) error {
	runtime.LockOSThread()
	if err := syscall.Mount("", "/", "", recursivelyPrivate, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	for _, m := range []struct{ source, target string }{{root, root}, {config, filepath.Join(root, "etc/quaygen")}} {
		if err := syscall.Mount(m.source, m.target, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("mounting %s at %s: %w", m.source, m.target, err)
		}
	}
	// In a container without privileges the machine's own may be out of reach; nothing depends on it.
	_ = syscall.Mount("proc", filepath.Join(root, "proc"), "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, "")
	for _, target := range []string{filepath.Join(root, "etc/quaygen"), root} {
		if err := remountReadOnly(target); err != nil {
			return fmt.Errorf("making %s read-only: %w", target, err)
		}
	}
	if err := syscall.Chroot(root); err != nil {
		return fmt.Errorf("changing the root directory: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if os.Getuid() == 0 {
		if err := changeUser(); err != nil {
			return err
		}
	}
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, prCapAmbient, prCapAmbientClear, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("giving up capabilities: %w", errno)
	}
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, prSetNoNewPrivs, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("refusing new privileges: %w", errno)
	}
	return fmt.Errorf("starting %s: %w", program[0], syscall.Exec(program[0], program, nil))
}

// remountReadOnly keeps the restrictions of the file system below, which a user namespace may not lift.
func remountReadOnly(target string) error {
	var below syscall.Statfs_t
	if err := syscall.Statfs(target, &below); err != nil {
		return err
	}
	kept := uintptr(below.Flags) & (syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC | syscall.MS_NOATIME | syscall.MS_NODIRATIME)
	return syscall.Mount("", target, "", readOnly|kept, "")
}

func changeUser() error {
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("leaving groups: %w", err)
	}
	if err := syscall.Setgid(user); err != nil {
		return fmt.Errorf("becoming group %d: %w", user, err)
	}
	if err := syscall.Setuid(user); err != nil {
		return fmt.Errorf("becoming user %d: %w", user, err)
	}
	return nil
}

// statusOf reads a line of what the kernel says of a process.
func statusOf(t *testing.T, process int, key string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.Join(strings.Fields(value), " ")
		}
	}
	t.Fatalf("the kernel says nothing of %s", key)
	return ""
}
