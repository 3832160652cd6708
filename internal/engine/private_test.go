package engine_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"drctl/internal/engine"
	"drctl/internal/engine/enginetest"
	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
)

// stranger is what another user of the machine may try.
type stranger struct {
	Ports                  []int
	Dir, CertFile, KeyFile string // of the engine; of a certificate of the stranger's own
}

const strangerEnv = "DRCTL_TEST_STRANGER"

// TestAsStranger is the other user, in a process of its own, and prints what it got at.
func TestAsStranger(t *testing.T) {
	text := os.Getenv(strangerEnv)
	if text == "" {
		return
	}

	var s stranger
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}

	own, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
	if err != nil {
		t.Fatal(err)
	}

	for _, port := range s.Ports {
		for name, c := range map[string]credentials.TransportCredentials{
			"plain text":                  insecure.NewCredentials(),
			"no certificate":              credentials.NewTLS(&tls.Config{InsecureSkipVerify: true}),
			"a certificate of one's own":  credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{own}}),
			"the right name, another key": credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, ServerName: "drctl-engine", Certificates: []tls.Certificate{own}}),
		} {
			if code := talk(port, c); code != codes.Unavailable {
				fmt.Printf("REACHED port %d with %s: %s\n", port, name, code)
			}
		}
	}

	if _, err := engine.Dial(t.Context(), engine.Options{Address: fmt.Sprint("127.0.0.1:", s.Ports[0]), Dir: s.Dir, Timeout: time.Second}); err != nil {
		fmt.Printf("DIAL %s %v\n", fail.CodeOf(err), err)
	}
	_ = filepath.WalkDir(s.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}

		if f, err := os.Open(path); err == nil {
			_ = f.Close()

			fmt.Printf("READABLE %s\n", path)
		}

		return nil
	})
}

// talk asks a port for anything at all. Every answer of a server, a refusal of
// the method too, is another code than unavailable.
func talk(port int, c credentials.TransportCredentials) codes.Code {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	conn, err := grpc.NewClient(fmt.Sprint("passthrough:///127.0.0.1:", port), grpc.WithTransportCredentials(c))
	if err != nil {
		return codes.Internal
	}

	defer func() { _ = conn.Close() }()

	return status.Code(conn.Invoke(ctx, "/grpc.health.v1.Health/Check", &emptypb.Empty{}, &emptypb.Empty{}))
}

// listening lists the TCP ports on which a process listens.
func listening(t *testing.T, pid int) (ports []int) {
	t.Helper()
	own := map[string]bool{}

	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(fds) == 0 {
		t.Fatalf("no descriptors of %d: %v", pid, err)
	}

	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil {
			own[to] = true
		}
	}

	for _, table := range []string{"tcp", "tcp6"} {
		f, err := os.Open(filepath.Join("/proc/net", table))
		if err != nil {
			continue // no IPv6
		}

		for lines := bufio.NewScanner(f); lines.Scan(); {
			x := strings.Fields(lines.Text())
			if len(x) < 10 || x[3] != "0A" || !own["socket:["+x[9]+"]"] {
				continue
			}

			host, hex, _ := strings.Cut(x[1], ":")
			if host != "0100007F" {
				t.Errorf("it listens on %s, not on loopback alone", x[1])
			}

			port, err := strconv.ParseInt(hex, 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			ports = append(ports, int(port))
		}
		_ = f.Close()
	}

	return ports
}

// asNobody runs a test of this binary as another user if this one may, and
// returns what it printed.
func asNobody(t *testing.T, test string, env ...string) string {
	t.Helper()

	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}

	exe := filepath.Join(sandboxtest.Dir(t), "stranger")
	if err := os.WriteFile(exe, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run", "^"+test+"$")

	cmd.Dir, cmd.Env = "/", append(env, "TMPDIR=/tmp")
	if os.Geteuid() == 0 {
		u, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}

	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the stranger: %v\n%s", err, out)
	}

	return string(out)
}

// Nobody but the engine's user gets a word with it, on any of its ports.
func TestEngineListensToItsOwnAlone(t *testing.T) {
	o := enginetest.Options(t)

	o.Dir = filepath.Join(sandboxtest.Dir(t), "state", "engine") // a path that everybody can walk
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	e := enginetest.Start(t, o)
	ports := listening(t, e.Proc.Pid)
	_, first, _ := net.SplitHostPort(e.Address)

	client, _ := strconv.Atoi(first)
	if len(ports) < 3 || !slices.Contains(ports, client) {
		t.Fatalf("it listens on %v, clients use %d", ports, client)
	}
	a := enginetest.NewAuthority(t)
	files := sandboxtest.Dir(t)

	s := stranger{Ports: append([]int{client}, ports...), Dir: o.Dir,
		CertFile: filepath.Join(files, "client.pem"), KeyFile: filepath.Join(files, "client.key")}
	for from, to := range map[string]string{a.CertFile: s.CertFile, a.KeyFile: s.KeyFile} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}

		if err := os.WriteFile(to, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}

	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}

	out := asNobody(t, "TestAsStranger", strangerEnv+"="+string(text))
	if strings.Contains(out, "REACHED") {
		t.Errorf("somebody else got through:\n%s", out)
	}

	if os.Geteuid() == 0 {
		if strings.Contains(out, "READABLE") {
			t.Errorf("somebody else can read the engine's files:\n%s", out)
		}

		if !strings.Contains(out, "DIAL denied") || !strings.Contains(out, "belongs to root") {
			t.Errorf("what the other user is told: %s", out)
		}
	}
	// The test can tell: the owner gets an answer from all of them.
	for _, port := range ports {
		c, err := engine.Identity(o.Dir)
		if err != nil {
			t.Fatal(err)
		}

		if code := talk(port, credentials.NewTLS(c)); code == codes.Unavailable {
			t.Errorf("port %d does not answer its owner", port)
		}
	}
}

// An engine that starts again has another certificate, which its clients take up.
func TestClientsTakeUpTheCertificateOfARestartedEngine(t *testing.T) {
	o := enginetest.Options(t)
	e := enginetest.Start(t, o)
	c := enginetest.Client(t, e)

	was, err := os.ReadFile(filepath.Join(o.Dir, "engine.pem"))
	if err != nil {
		t.Fatal(err)
	}

	if err := e.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}

	again := enginetest.Start(t, o)
	if again.Address != e.Address {
		t.Fatalf("it moved from %s to %s", e.Address, again.Address)
	}

	if now, err := os.ReadFile(filepath.Join(o.Dir, "engine.pem")); err != nil || string(now) == string(was) {
		t.Errorf("the certificate is the same: %v", err)
	}

	waitFor(t, "an answer to the old client", func() bool {
		_, err := engine.Running(t.Context(), c, "")
		return err == nil
	})
}

// The environment may hold every secret of the platform: the engine needs none.
func TestEngineGetsNoSecretsOfTheEnvironment(t *testing.T) {
	t.Setenv("DRCTL_VAULT_SECRET_KEY", "sesame-open-3f9a")
	o := enginetest.Options(t)
	e := enginetest.Start(t, o)

	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", e.Proc.Pid))
	if err != nil || len(env) == 0 || strings.Contains(string(env), "sesame") {
		t.Errorf("started by a command: %q %v", env, err)
	}

	cmd, err := engine.Child("engine", o).Command(nil)
	if err != nil || cmd.Env == nil || strings.Contains(strings.Join(cmd.Env, " "), "sesame") {
		t.Errorf("started by drctl up: %q %v", cmd.Env, err)
	}
}

// A user who may read everything does not work for another's engine.
func TestEngineOfAnotherUserIsNotUsed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root can make files of another user; the rest is TestEngineListensToItsOwnAlone")
		return
	}
	o := enginetest.Options(t)

	e := enginetest.Start(t, o)
	if err := os.Chown(filepath.Join(o.Dir, "engine.pem"), 65534, 65534); err != nil {
		t.Fatal(err)
	}

	if err := os.Chown(o.Dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}

	if _, err := engine.Dial(t.Context(), e.Options()); !fail.Is(err, fail.Denied) || !strings.Contains(err.Error(), "belongs to") {
		t.Errorf("got %v", err)
	}

	other := enginetest.Options(t)
	if err := os.Chown(other.Dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}

	if _, err := engine.StartEmbedded(t.Context(), other); !fail.Is(err, fail.Denied) {
		t.Errorf("an engine in another user's directory: %v", err)
	}

	empty := engine.Options{Address: e.Address, Dir: t.TempDir()}
	if _, err := engine.Dial(t.Context(), empty); !fail.Is(err, fail.Unavailable) {
		t.Errorf("no engine has started there: %v", err)
	}
}
