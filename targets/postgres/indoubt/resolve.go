package indoubt

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/targets"
)

// Check is the name of the findings.
const Check = targets.CheckPrepared

// Want is what a cut says of what is prepared: see targets.ShardPoint.
type Want struct {
	List  []targets.InDoubt
	Since time.Time
}

// Proven reports whether the cut was read out of the logs, and so knows what is prepared.
func (w Want) Proven() bool { return len(w.List) > 0 || !w.Since.IsZero() }

// Server is a recovered server that nobody uses yet.
type Server struct {
	Subject string // in findings
	// Open opens a session of a superuser, or of the owner of what is prepared;
	// with "" in any database.
	Open func(ctx context.Context, database string) (*pgx.Conn, error)
	// Ended is called after each transaction that was ended, with how many were.
	Ended func(done, total int64)
}

// verbs end a transaction.
var verbs = map[targets.InDoubtAction]string{targets.InDoubtCommit: "COMMIT", targets.InDoubtRollBack: "ROLLBACK"}

// until is what somebody has to know of a transaction that is left.
const until = "it holds its locks until it is ended: COMMIT PREPARED or ROLLBACK PREPARED, as its transaction manager says"

// Resolve ends what the cut says is to be ended, and tells of each transaction what
// became of it. One that could not be ended is a finding of Failed. The error is that of
// a server that cannot be asked, or that ended meanwhile: then nothing is known.
func Resolve(ctx context.Context, s Server, want Want) ([]targets.Finding, error) {
	conn, err := s.Open(ctx, "")
	if err != nil {
		return nil, err
	}
	defer closeAll(conn)

	before, err := byGID(ctx, conn)
	if err != nil {
		return nil, err
	}

	r := resolving{Server: s, sessions: map[string]*pgx.Conn{}, failed: map[targets.GID]error{}}
	defer func() {
		for _, c := range r.sessions {
			closeAll(c)
		}
	}()

	for i, d := range want.List {
		if t, ok := before[d.GID]; ok && verbs[d.Action] != "" {
			r.failed[d.GID] = r.end(ctx, t, verbs[d.Action])
		}

		if s.Ended != nil {
			s.Ended(int64(i+1), int64(len(want.List)))
		}
	}

	after, err := byGID(ctx, conn)
	if err != nil {
		return nil, err
	}

	return r.findings(want, before, after), nil
}

// Unable tells that nothing could be ended, and why.
func Unable(subject string, want Want, why error) (out []targets.Finding) {
	for _, d := range want.List {
		out = append(out, targets.Finding{Check: Check, Subject: subject, Severity: targets.Failed, Expected: string(d.Action), Got: "not ended",
			Detail: fmt.Sprintf("%q%s; %v", d.GID, because(d), why)})
	}

	return out
}

func byGID(ctx context.Context, conn *pgx.Conn) (map[targets.GID]Transaction, error) {
	all, err := List(ctx, conn, nil)

	out := make(map[targets.GID]Transaction, len(all))
	for _, t := range all {
		out[t.GID] = t // a cluster has each once
	}

	return out, err
}

// resolving has one session for each database in which something is ended.
type resolving struct {
	Server
	sessions map[string]*pgx.Conn
	failed   map[targets.GID]error
}

// end ends one transaction, in its own database: the server refuses it elsewhere.
func (r *resolving) end(ctx context.Context, t Transaction, verb string) error {
	conn := r.sessions[t.Database]
	if conn == nil {
		var err error
		if conn, err = r.Open(ctx, t.Database); err != nil {
			return err
		}
		r.sessions[t.Database] = conn
	}

	_, err := conn.PgConn().Exec(ctx, verb+" PREPARED "+literal(t.GID)).ReadAll()

	return err
}

func (r *resolving) findings(want Want, before, after map[targets.GID]Transaction) (out []targets.Finding) {
	tell := func(severity targets.Severity, expected, got, detail string) {
		out = append(out, targets.Finding{Check: Check, Subject: r.Subject, Severity: severity, Expected: expected, Got: got, Detail: detail})
	}
	listed := map[targets.GID]bool{}

	for _, d := range want.List {
		listed[d.GID] = true
		was, there := before[d.GID]
		_, still := after[d.GID]
		name := was.String() + because(d)

		switch {
		case !there:
			tell(targets.Failed, "prepared", "not there", fmt.Sprintf("%q%s; the recovered state is not the one that was proven", d.GID, because(d)))
		case d.Action == targets.InDoubtLeave:
			tell(targets.Warned, "left", "left", name+"; "+until)
		case still:
			tell(targets.Failed, verbs[d.Action]+" PREPARED", "still prepared", fmt.Sprintf("%s; %v; %s", name, r.failed[d.GID], until))
		default:
			tell(targets.Passed, verbs[d.Action]+" PREPARED", verbs[d.Action]+" PREPARED", name)
		}
	}

	for _, t := range sorted(after) {
		if listed[t.GID] {
			continue
		}

		severity, why := unlisted(t, want)
		tell(severity, "not prepared", "prepared "+t.Prepared.UTC().Format(time.RFC3339), t.String()+"; "+why+"; "+until)
	}

	return out
}

// unlisted judges a transaction that the cut does not know.
func unlisted(t Transaction, want Want) (targets.Severity, string) {
	switch {
	case want.Since.IsZero():
		return targets.Warned, "the cut says nothing of prepared transactions"
	case t.Prepared.Before(want.Since):
		return targets.Warned, "it was prepared before the log of which the cut knows, and is left"
	}

	return targets.Failed, "the cut does not have it: the recovered state is not the one that was proven"
}

func because(d targets.InDoubt) string {
	var s string
	if d.Group != "" {
		s = fmt.Sprintf(" of the global transaction %q", d.Group)
	}

	if d.Reason != "" {
		s += ": " + d.Reason
	}

	return s
}

func closeAll(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}
