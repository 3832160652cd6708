package main

import (
	"log/slog"
	"testing"
	"time"

	"drctl/cmd/drctl/configured"
	"drctl/config"
	"drctl/internal/engine"
	"drctl/internal/servers"
	"drctl/workflows"
)

// next is when a schedule runs first after an instant.
func next(s engine.Schedule, after time.Time) time.Time {
	at := time.Unix(0, 0).Add(s.Offset)
	return at.Add(after.Sub(at)/s.Every*s.Every + s.Every)
}

// Base and retention share an id, and a check reads what both write: none of
// them ever falls due together with another, whatever the intervals.
func TestSchedulesOfAGroupNeverMeet(t *testing.T) {
	for _, every := range []struct{ base, check time.Duration }{
		{24 * time.Hour, 6 * time.Hour}, {24 * time.Hour, 24 * time.Hour}, {48 * time.Hour, 0}, {36 * time.Hour, 8 * time.Hour},
		{time.Hour, time.Hour}, {7 * time.Hour, 5 * time.Hour}, {0, time.Hour}, {0, 0}, {20 * time.Second, 15 * time.Second},
	} {
		cfg, err := config.Load("../../config/example.yaml", func(string) (string, bool) { return "", false })
		if err != nil {
			t.Fatal(err)
		}

		for _, p := range cfg.Policies {
			p.Base.Every, p.Check.Every = every.base, every.check
		}
		s := &session{cfg: cfg, p: configured.New(cfg, servers.Binaries{}, slog.New(slog.DiscardHandler))}

		all, err := s.schedules()
		if err != nil {
			t.Fatal(err)
		}

		part := map[string]engine.Schedule{}
		for _, x := range all {
			switch in := x.Args[0].(workflows.ScheduledIn); in.Workflow {
			case workflows.TakeCutName, workflows.RunDrillName:
				if in.Wait != 0 {
					t.Errorf("%s waits for %s", x.ID, in.Wait)
				}
			default:
				part[in.Workflow] = x
				if in.Wait <= 0 || in.Wait > x.Every/2 {
					t.Errorf("%s, every %s, waits for %s", x.ID, x.Every, in.Wait)
				}
			}
		}

		if want := 1 + min(1, every.base) + min(1, every.check); len(part) != int(want) {
			t.Fatalf("%+v: %d schedules", every, len(part))
		}
		now := time.Date(2026, 3, 14, 1, 59, 26, 0, time.UTC)

		seen := map[time.Time]string{}
		for name, x := range part {
			for at := next(x, now); at.Before(now.Add(20 * 24 * time.Hour)); at = at.Add(x.Every) {
				if other, ok := seen[at]; ok {
					t.Fatalf("%+v: %s and %s fall due at %s", every, name, other, at)
				}
				seen[at] = name
			}
		}
	}
}
