package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"drctl/internal/engine"
	"drctl/internal/engine/enginetest"
	"drctl/internal/fail"
	"drctl/internal/upkeep"
	"drctl/workflows"
)

// A worker serves an engine that stands behind TLS and wants a key; one with a
// wrong key, authority or namespace ends with the reason instead of trying for ever.
func TestWorkerOfAnExternalEngine(t *testing.T) {
	e := enginetest.Start(t, enginetest.Options(t))
	const key = "sesame-open-3f9a"
	ours, theirs := enginetest.NewAuthority(t), enginetest.NewAuthority(t)
	address := ours.KeyFront(t, e, key)
	t.Setenv("GOOD_KEY", key)
	t.Setenv("BAD_KEY", "sesame-shut-77c1")

	external := func(namespace, ca, key string) string {
		return fmt.Sprintf("{mode: external, address: %q, namespace: %s, api_key: {env: %s}, tls: {ca_file: %q, server_name: %s}}",
			address, namespace, key, ca, enginetest.ServerName)
	}
	for _, c := range []struct {
		engine string
		want   fail.Code
	}{
		{external(e.Namespace, ours.CAFile, "BAD_KEY"), fail.Denied},
		{external(e.Namespace, theirs.CAFile, "GOOD_KEY"), fail.Denied},
		{external(e.Namespace, ours.KeyFile, "GOOD_KEY"), fail.Invalid}, // no certificate in it
		{external("nobody", ours.CAFile, "GOOD_KEY"), fail.NotFound},
	} {
		file, _ := vaultsOnly(t, c.engine)
		for _, args := range [][]string{{"worker", "--region", "east"}, {"backup", "now"}} {
			_, err := command(t.Context(), file, args...)
			if !fail.Is(err, c.want) || strings.Contains(err.Error(), "sesame") || strings.Contains(err.Error(), "drctl up") {
				t.Errorf("%s with %s: %v, want %s", args[0], c.engine, err, c.want)
			}
		}
	}

	file, s := vaultsOnly(t, external(e.Namespace, ours.CAFile, "GOOD_KEY"))
	ctx, cancel := context.WithCancel(t.Context())

	done := make(chan error, 1)
	go func() {
		_, err := command(ctx, file, "worker", "--region", "east")
		done <- err
	}()

	c, err := dial(t.Context(), s.cfg, s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	g, err := s.p.Group("shop")
	if err != nil {
		t.Fatal(err)
	}

	run, err := start(t.Context(), c, s.ids().Check("shop"), workflows.CheckName, g.Queue("east"), false, workflows.CheckAllIn{Group: g, Regions: []string{"east"}})
	if err != nil {
		t.Fatal(err)
	}

	var outs []upkeep.Check
	if err := engine.DecodeError(run.Get(t.Context(), &outs)); err != nil || len(outs) != 1 || outs[0].Region != "east" || outs[0].Failed != 0 {
		t.Errorf("%+v, %v", outs, err)
	}

	cancel()

	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("the worker ended with %v", err)
	}
}
