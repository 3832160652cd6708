package observe

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"drctl/internal/fail"
)

// opPause is the operation in errors of a pause.
const opPause = "redis: pause writers"

// Pause makes the server let writes wait, for at most the lease, whoever dies. It
// fails with denied where the user may not, unsupported where the server cannot,
// and conflict while somebody else has paused it: ending this pause would end
// theirs too. Before Redis 7.2 a server does not tell of one.
func (s *Session) Pause(ctx context.Context, lease time.Duration) error {
	text, err := s.client.Info(ctx, "clients", "replication").Result()
	if err != nil {
		return s.refused(err)
	}

	for line := range strings.Lines(text) {
		switch k, v, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); {
		case k == "paused_reason" && v != "none":
			return fail.New(fail.Conflict, opPause, s.in.String(), "try again when the pause has ended", errors.New("somebody has paused the server: "+v))
		case k == "master_failover_state" && v != "no-failover":
			return fail.New(fail.Conflict, opPause, s.in.String(), "try again when the failover has ended", errors.New("a failover is under way: "+v))
		}
	}

	ms := max(lease.Milliseconds(), 1)

	return s.answered("+client|pause", s.client.Do(ctx, "client", "pause", strconv.FormatInt(ms, 10), "write").Err())
}

// Resume ends the pause before its time. It may be repeated.
func (s *Session) Resume(ctx context.Context) error {
	return s.answered("+client|unpause", s.client.Do(ctx, "client", "unpause").Err())
}

// answered says which right is missing.
func (s *Session) answered(right string, err error) error {
	switch {
	case err == nil:
		return nil
	case strings.HasPrefix(err.Error(), "NOPERM"):
		user := s.in.User
		if user == "" {
			user = "default"
		}

		return fail.New(fail.Denied, opPause, s.in.String(), "grant it: ACL SETUSER "+user+" "+right, err)
	case strings.HasPrefix(err.Error(), "ERR"): // a server without the command, or before 6.2
		return fail.New(fail.Unsupported, opPause, s.in.String(), "Redis 6.2 or later is needed, with its CLIENT command", err)
	}

	return s.refused(err)
}
