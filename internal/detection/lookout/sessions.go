package lookout

import (
	"context"
	"maps"

	"drctl/targets"
)

// Session asks a server again and again. A new one for each look costs the server a
// process and a login.
type Session interface {
	// Writable reports whether the server answers, and takes writes.
	Writable(ctx context.Context) (bool, error)
	Close()
}

// session is a session that is kept, and where it leads.
type session struct {
	Session
	address string
}

// again asks over the session that is kept, if there is one. One that does not answer says
// nothing of the server: it is ended, and the server is asked as if for the first time.
func (l *Lookout) again(ctx context.Context, server string, in targets.Instance) (writable, answered bool) {
	l.mu.Lock()
	s, ok := l.sessions[server]
	l.mu.Unlock()

	if !ok {
		return false, false
	}

	if s.address == in.Address {
		// It needs no turn: who is gone is waited for by all at once.
		c, cancel := context.WithTimeout(ctx, l.o.Limit/4)
		defer cancel()

		w, err := s.Writable(c)
		if err == nil && w {
			return true, true
		}
		writable, answered = w, err == nil
	}

	l.keep(server, session{})

	return writable, answered
}

// first opens a session and keeps it. Without one the next look asks as this one did.
func (l *Lookout) first(ctx context.Context, turn turns, server string, d targets.Driver, in targets.Instance) {
	s, err := taken(ctx, turn, func(ctx context.Context) (Session, error) { return l.o.Session(ctx, d, in) })
	if err == nil {
		l.keep(server, session{s, in.Address})
	}
}

// keep ends the session with a server, and keeps another, if there is one.
func (l *Lookout) keep(server string, s session) {
	l.mu.Lock()
	was := l.sessions[server]
	delete(l.sessions, server)

	if s.Session != nil {
		l.sessions[server] = s
	}

	l.mu.Unlock()

	if was.Session != nil {
		was.Close()
	}
}

// leave ends all sessions.
func (l *Lookout) leave() {
	l.mu.Lock()
	all := maps.Clone(l.sessions)
	l.mu.Unlock()

	for server := range all {
		l.keep(server, session{})
	}
}
