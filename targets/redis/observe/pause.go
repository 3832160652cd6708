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

// busy is how lately the stream has to have moved for nobody else to have paused the server.
const busy = 100 * time.Millisecond

// Pause makes the server let writes wait, for at most the lease, whoever dies. It
// fails with denied where the user may not, unsupported where the server cannot,
// and conflict while somebody else has paused it, if the server tells: ending this pause would end
// theirs too.
//
// Valkey tells since 8.1 (paused_reason). No Redis does. There a stream that has just moved shows that
// nobody has; of one that has not, Resume leaves the pause to its lease.
func (s *Session) Pause(ctx context.Context, lease time.Duration) error {
	text, err := s.client.Info(ctx, "clients", "replication").Result()
	if err != nil {
		return s.refused(err)
	}
	s.ours = time.Since(s.moved) < busy

	for line := range strings.Lines(text) {
		switch k, v, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); {
		case k == "paused_reason" && v != "none":
			s.ours = false
			return fail.New(fail.Conflict, opPause, s.in.String(), "try again when the pause has ended", errors.New("somebody has paused the server: "+v))
		case k == "paused_reason", k == "master_repl_offset" && s.last.run != "" && v != strconv.FormatUint(s.last.offset, 10):
			s.ours = true
		case k == "master_failover_state" && v != "no-failover":
			s.ours = false
			return fail.New(fail.Conflict, opPause, s.in.String(), "try again when the failover has ended", errors.New("a failover is under way: "+v))
		}
	}

	ms := max(lease.Milliseconds(), 1)

	err = s.answered("+client|pause", s.client.Do(ctx, "client", "pause", strconv.FormatInt(ms, 10), "write").Err())
	if err != nil {
		s.ours = false
	}

	return err
}

// Resume ends the pause of this session before its time, if it is surely nobody else's too. It may
// be repeated.
func (s *Session) Resume(ctx context.Context) error {
	if !s.ours {
		return nil
	}

	err := s.answered("+client|unpause", s.client.Do(ctx, "client", "unpause").Err())
	if err == nil {
		s.ours = false
	}

	return err
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
