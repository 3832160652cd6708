package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drctl/config"
	"drctl/internal/engine"
	"drctl/internal/engine/enginetest"
	"drctl/internal/fail"
	"drctl/internal/servers"
	"drctl/internal/supervise"
)

// TestAsDrctl is drctl itself when a test starts this binary as a child.
func TestAsDrctl(t *testing.T) {
	if os.Getenv("DRCTL_TEST_MAIN") == "" {
		return
	}

	for i, a := range os.Args {
		if a == "--" {
			os.Args = append([]string{"drctl"}, os.Args[i+1:]...)
			os.Exit(run())
		}
	}
}

// asDrctl makes a program that is drctl as these tests are built from.
func asDrctl(t *testing.T) string {
	t.Helper()

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "drctl")

	text := fmt.Sprintf("#!/bin/sh\nDRCTL_TEST_MAIN=1 exec %q -test.run '^TestAsDrctl$' -- \"$@\"\n", self)
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}

	return file
}

// supervised is what drctl up runs for a configuration.
func supervised(t *testing.T, file string) *supervise.Supervisor {
	t.Helper()

	cfg, err := config.Load(file, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	a := newApp(io.Discard, io.Discard)
	a.logLevel = "error"

	children, err := a.children(cfg, asDrctl(t), enginetest.Bin(t))
	if err != nil {
		t.Fatal(err)
	}

	s, err := supervise.New(supervise.Options{StateDir: cfg.StateDir, Children: children, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))})
	if err != nil {
		t.Fatal(err)
	}

	return s
}

func freePort(t *testing.T) (*net.TCPListener, string) {
	t.Helper()

	// One that nobody's outgoing connection gets, when the listener is closed.
	port, err := servers.FreePort()
	if err != nil {
		t.Fatal(err)
	}

	l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}

	return l.(*net.TCPListener), l.Addr().String()
}

func TestUpIsReadyWhenItsWorkersServe(t *testing.T) {
	l, address := freePort(t)
	_ = l.Close()
	file, s := vaultsOnly(t, fmt.Sprintf("{address: %q}", address))
	sup := supervised(t, file)
	ctx, cancel := context.WithCancel(context.Background())

	done := make(chan error, 1)
	go func() { done <- sup.Run(ctx) }()

	ready := make(chan error, 1)
	go func() { ready <- sup.WaitReady(ctx) }()

	select {
	case err := <-ready:
		if err != nil {
			t.Fatal(err)
		}
	case err := <-done:
		t.Fatal(err)
	}

	for _, want := range []struct{ child, address string }{{"engine", address}, {"worker-east", "drctl.small.east"}, {"worker-west", "drctl.small.west"}} {
		if c, _ := sup.State().Child(want.child); c.Phase != supervise.Ready || c.Address != want.address {
			t.Errorf("%+v, want %s", c, want.address)
		}
	}

	c, err := dial(t.Context(), s.cfg, s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	if _, err := engine.Running(t.Context(), c, ""); err != nil {
		t.Error(err)
	}

	cancel()

	if err := <-done; err != nil {
		t.Error(err)
	}
}

// What can never start ends drctl up with its own reason.
func TestUpSaysWhyItCannotStart(t *testing.T) {
	taken, address := freePort(t)
	defer func() { _ = taken.Close() }()

	file, _ := vaultsOnly(t, fmt.Sprintf("{address: %q}", address))
	if err := supervised(t, file).Run(t.Context()); !fail.Is(err, fail.Conflict) || !strings.Contains(err.Error(), address) {
		t.Errorf("the engine's port is taken: %v", err)
	}

	l, address := freePort(t)
	_ = l.Close()
	file, _ = vaultsOnly(t, fmt.Sprintf("{address: %q}", address))

	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString("sandbox: {tools: {restic: /none/restic}}\n")
	_ = f.Close()

	if err != nil {
		t.Fatal(err)
	}

	if err := supervised(t, file).Run(t.Context()); !fail.Is(err, fail.NotFound) || !strings.Contains(err.Error(), "/none/restic") || !strings.Contains(err.Error(), "sandbox.tools") {
		t.Errorf("the workers have no restic: %v", err)
	}
}

// What validate accepts as the address of the embedded engine, up accepts, and
// the engine listens there.
func TestUpAndValidateAgreeOnTheAddress(t *testing.T) {
	for _, address := range []string{"127.0.0.1:7233", "localhost:7233", "[::1]:7233", "127.0.0.2:7233", "0.0.0.0:7233", "db.example.com:7233", ":7233"} {
		text := fmt.Sprintf("version: 1\nname: x\nkey: {env: K}\nengine: {address: %q}\nregions: {east: {vault: {url: \"file:///v\"}}}\n"+
			"targets: {orders: {kind: postgres, database: d, user: u, shards: {\"0\": {east: {address: \"h:1\", role: primary}}}}}\n"+
			"groups: {shop: {targets: [orders], gate: orders/0}}\n", address)

		_, err := config.Parse([]byte(text), "x.yaml")
		if want := address == "127.0.0.1:7233" || address == "localhost:7233"; want != (err == nil) {
			t.Errorf("%s: %v", address, err)
		} else if err != nil && !strings.Contains(err.Error(), "engine.address") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
