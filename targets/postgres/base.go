package postgres

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/postgres/control"
	"drctl/targets/postgres/replayconf"
	"drctl/targets/postgres/timelines"
)

const (
	opBase      = "backup"
	methodFiles = "files"
	methodWire  = "wire"
	wireName    = "base.tar"

	fileLabel   = "backup_label"
	fileTblMap  = "tablespace_map"
	fileControl = "pg_control"
)

// Base takes a full image. See targets.Driver. The data directory is read
// file by file when this process can read it and it is this very server's;
// otherwise the server sends it.
func (d *Driver) Base(ctx context.Context, in targets.Instance, req targets.BaseRequest, to targets.Sink) (targets.Artifact, error) {
	conn, err := connect(ctx, opBase, in)
	if err != nil {
		return targets.Artifact{}, err
	}
	defer closeConn(conn)

	if err := direct(ctx, opBase, in, conn); err != nil {
		return targets.Artifact{}, err
	}

	srv, err := readServer(ctx, opBase, in, conn)
	if err != nil {
		return targets.Artifact{}, err
	}

	a := targets.Artifact{ID: req.ID, Shard: in.Shard, Kind: targets.Postgres, Region: in.Region,
		Started: time.Now().UTC(), Full: req.Full, Files: map[string]string{}}
	if a.Settings, err = readSettings(ctx, in, conn); err != nil {
		return a, err
	}

	if files := a.Settings[settingConfig]; files != "" {
		d.log.WarnContext(ctx, "backup: the base does not hold the server's configuration, which lies outside its data directory: save it by other means", "instance", in.String(), "files", files)
	}
	b := &baseRun{d: d, in: in, req: req, to: to, conn: conn, srv: srv, a: &a}

	dir, why := localDataDir(in, srv)
	if dir != "" {
		b.dir = dir
		a.Method = methodFiles
		err = b.files(ctx)
	} else {
		if in.DataDir != "" {
			d.log.WarnContext(ctx, "backup: the data directory is not usable from here, the server sends the base instead", "instance", in.String(), "why", why)
		}
		a.Method, a.Full = methodWire, true
		err = b.wire(ctx)
	}

	if err != nil {
		return targets.Artifact{}, err
	}
	a.Finished = time.Now().UTC()

	return a, nil
}

// What a restore needs to know when there is no configuration any more: the
// superuser that made the cluster, and the database with the group's tables.
const (
	settingSuperuser = "drctl.superuser"
	settingDatabase  = "drctl.database"
	// settingConfig names the configuration files outside the data directory,
	// which a base does not hold.
	settingConfig = "drctl.configuration_elsewhere"
)

func readSettings(ctx context.Context, in targets.Instance, conn *pgx.Conn) (map[string]string, error) {
	out := map[string]string{}

	rows, err := conn.Query(ctx, `SELECT name, setting FROM pg_settings WHERE name = ANY($1)
		UNION ALL SELECT '`+settingSuperuser+`', rolname FROM pg_roles WHERE oid = 10
		UNION ALL SELECT '`+settingDatabase+`', current_database()
		UNION ALL SELECT '`+settingConfig+`', string_agg(setting, ', ' ORDER BY name) FROM pg_settings
			WHERE name IN ('config_file', 'hba_file', 'ident_file') AND NOT starts_with(setting, (SELECT setting || '/' FROM pg_settings WHERE name = 'data_directory'))
			HAVING count(*) > 0`, slices.Concat(replayconf.Settings, replayconf.Notes))
	if err == nil {
		var name, value string
		_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error { out[name] = value; return nil })
	}

	return out, queryError(opBase, in, "", err)
}

// localDataDir returns the data directory when it is readable and belongs to
// the server that answered: same cluster, same port, same start.
func localDataDir(in targets.Instance, srv server) (dir, why string) {
	if in.DataDir == "" {
		return "", "not configured"
	}

	dir, err := filepath.EvalSymlinks(in.DataDir)
	if err == nil {
		dir, err = filepath.Abs(dir)
	}

	if err != nil {
		return "", err.Error()
	}

	_, sys, err := control.Read(dir)
	if err != nil {
		return "", err.Error()
	}

	if sys != srv.systemID {
		return "", fmt.Sprintf("it holds cluster %s, the server is cluster %s", sys, srv.systemID)
	}

	pm, err := readPostmaster(dir)
	if err != nil {
		return "", err.Error()
	}

	if pm.port != srv.port || pm.started.Sub(srv.started).Abs() > 3*time.Second {
		return "", fmt.Sprintf("its server listens on port %d since %s, the server that answers on port %d since %s", pm.port, pm.started.UTC().Format(time.RFC3339), srv.port, srv.started.UTC().Format(time.RFC3339))
	}

	return dir, ""
}

// postmaster is the content of postmaster.pid.
type postmaster struct {
	pid     int
	started time.Time
	port    int
}

func readPostmaster(dir string) (postmaster, error) {
	b, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	if err != nil {
		return postmaster{}, err
	}

	lines := strings.Split(string(b), "\n")
	if len(lines) < 4 {
		return postmaster{}, fmt.Errorf("postmaster.pid is not complete")
	}
	pid, err1 := strconv.Atoi(strings.TrimSpace(lines[0]))
	sec, err2 := strconv.ParseInt(strings.TrimSpace(lines[2]), 10, 64)

	port, err3 := strconv.Atoi(strings.TrimSpace(lines[3]))
	if err1 != nil || err2 != nil || err3 != nil {
		return postmaster{}, fmt.Errorf("postmaster.pid is not readable")
	}

	return postmaster{pid: pid, started: time.Unix(sec, 0), port: port}, nil
}

// baseRun is one base being taken.
type baseRun struct {
	d    *Driver
	in   targets.Instance
	req  targets.BaseRequest
	to   targets.Sink
	conn *pgx.Conn // the session of the backup: its end ends the backup
	srv  server
	dir  string
	a    *targets.Artifact
}

const grantBackup = "GRANT EXECUTE ON FUNCTION pg_backup_start(text, boolean), pg_backup_stop(boolean) TO "

func (b *baseRun) grant() string { return grantBackup + quoteIdent(b.in.User) }

// files saves the data directory between the start and the stop of a backup.
func (b *baseRun) files(ctx context.Context) error {
	if err := b.inspect(ctx); err != nil {
		return err
	}

	start := "SELECT pg_backup_start($1, true)::text"
	if b.srv.version < 150000 {
		start = "SELECT pg_start_backup($1, true, false)::text"
	}

	b.req.Progress.Report("checkpoint", 0, 0)

	var lsn string
	if err := b.conn.QueryRow(ctx, start, "drctl "+b.req.ID).Scan(&lsn); err != nil {
		return queryError(opBase, b.in, b.grant(), err)
	}

	if err := b.saveTrees(ctx); err != nil {
		return err
	}

	content, sys, err := control.Read(b.dir)
	if err != nil {
		return fail.New(fail.Corrupt, opBase, b.in.String(), "look at global/pg_control on the server", err)
	}

	if sys != b.srv.systemID {
		return fail.Newf(fail.Conflict, opBase, b.in.String(), "the data directory was exchanged during the backup")
	}

	return b.stop(ctx, content)
}

// stop ends the backup, proves that it was one server all along, and saves
// the small files.
func (b *baseRun) stop(ctx context.Context, content []byte) error {
	stop := "SELECT lsn::text, labelfile, spcmapfile FROM pg_backup_stop(false)"
	if b.srv.version < 150000 {
		stop = "SELECT lsn::text, labelfile, spcmapfile FROM pg_stop_backup(false, false)"
	}

	b.req.Progress.Report("stop", 0, 0)

	var lsn, label, tblMap string
	if err := b.conn.QueryRow(ctx, stop).Scan(&lsn, &label, &tblMap); err != nil {
		return fail.New(fail.CodeOf(queryError(opBase, b.in, b.grant(), err)), opBase, b.in.String(), "no base was taken; the server failed over, restarted or went away during it", err)
	}

	if err := b.sameServer(ctx); err != nil {
		return err
	}

	until, err := targets.ParseLSN(lsn)
	if err != nil {
		return fail.New(fail.Internal, opBase, b.in.String(), "", err)
	}

	if err := b.positions([]byte(label), until); err != nil {
		return err
	}

	files := map[string][]byte{fileLabel: []byte(label), fileControl: content}
	if strings.TrimSpace(tblMap) != "" {
		files[fileTblMap] = []byte(tblMap)
	}

	for name, content := range files {
		sum, err := b.to.SaveFile(ctx, b.req.ID, name, content)
		if err != nil {
			return err
		}
		b.a.Files[name] = sum
	}

	return nil
}

// sameServer refuses a base during which the server changed its role or timeline.
func (b *baseRun) sameServer(ctx context.Context) error {
	now, err := readServer(ctx, opBase, b.in, b.conn)
	if err != nil {
		return err
	}

	was := b.srv
	if now.systemID != was.systemID || now.tli != was.tli || now.standby != was.standby || !now.started.Equal(was.started) {
		return fail.New(fail.Conflict, opBase, b.in.String(), "no base was taken; take it again",
			fmt.Errorf("the server failed over during the backup (from %s, standby %t, to %s, standby %t)", was.timeline(), was.standby, now.timeline(), now.standby))
	}

	return nil
}

// positions fills From and Until. The stream is needed from the start of the
// segment that holds the redo position.
func (b *baseRun) positions(label []byte, until uint64) error {
	l, err := parseLabel(label)
	if err != nil {
		return fail.New(fail.Internal, opBase, b.in.String(), "", err)
	}

	timeline := targets.PostgresTimeline(b.srv.systemID, l.tli)
	if l.tli != b.srv.tli {
		return fail.Newf(fail.Conflict, opBase, b.in.String(), "the backup began on timeline %d, the server is on timeline %d", l.tli, b.srv.tli)
	}
	b.a.From = targets.Position{Kind: targets.Postgres, Timeline: timeline, Offset: timelines.SegmentStart(l.start, b.srv.segmentSize)}
	b.a.Until = targets.Position{Kind: targets.Postgres, Timeline: timeline, Offset: until}

	return nil
}

// label is what a backup_label says.
type label struct {
	start uint64
	tli   uint32
}

func parseLabel(content []byte) (label, error) {
	var l label
	for line := range bytes.Lines(content) {
		s := strings.TrimSpace(string(line))
		if v, ok := strings.CutPrefix(s, "START WAL LOCATION: "); ok {
			lsn, err := targets.ParseLSN(strings.Fields(v)[0])
			if err != nil {
				return l, err
			}
			l.start = lsn
		}

		if v, ok := strings.CutPrefix(s, "START TIMELINE: "); ok {
			n, err := strconv.ParseUint(v, 10, 32)
			if err != nil {
				return l, err
			}
			l.tli = uint32(n)
		}
	}

	if l.start == 0 || l.tli == 0 {
		return l, fmt.Errorf("backup_label names no start: %q", content)
	}

	return l, nil
}

// excludes are the parts of a data directory that a base must not or need not
// hold. The control file is saved by itself, because a torn read of it must
// not enter the base.
func excludes(dir string) []string {
	out := []string{"pgsql_tmp*", "pg_internal.init*"}
	for _, name := range []string{"postmaster.pid", "postmaster.opts", "backup_label", "backup_label.old", "tablespace_map", "tablespace_map.old",
		"backup_manifest", "current_logfiles", "standby.signal", "recovery.signal", "postgresql.auto.conf.tmp", "global/pg_control",
		"pg_wal", "pg_replslot/*", "pg_dynshmem/*", "pg_notify/*", "pg_serial/*", "pg_snapshots/*", "pg_stat_tmp/*", "pg_subtrans/*"} {
		out = append(out, filepath.Join(dir, name))
	}

	return out
}

// saveTrees saves the data directory and every tablespace outside it.
func (b *baseRun) saveTrees(ctx context.Context) error {
	spaces, err := tablespaces(b.dir)
	if err != nil {
		return fail.New(fail.Invalid, opBase, b.in.String(), "look at pg_tblspc in the data directory", err)
	}

	exclude := excludes(b.dir)
	for oid, location := range spaces {
		exclude = append(exclude, filepath.Join(b.dir, "pg_tblspc", oid))
		if strings.HasPrefix(location, b.dir+"/") { // as a restore leaves it
			exclude = append(exclude, location)
		}
	}

	saved, err := b.to.SaveTree(ctx, targets.TreeRequest{Dir: b.dir, Exclude: exclude, Full: b.req.Full, Vanishing: true, Progress: b.req.Progress})
	if err != nil {
		return err
	}
	b.a.Snapshot, b.a.Path, b.a.Bytes, b.a.BytesAdded = saved.Snapshot, saved.Path, saved.Bytes, saved.BytesAdded

	for oid, location := range spaces {
		if strings.Contains(location, "=") {
			return fail.Newf(fail.Unsupported, opBase, b.in.String(), "tablespace %s at %q: a location with = in its name cannot be recorded", oid, location)
		}
		// A location that is itself a link would be saved as that link.
		real, err := filepath.EvalSymlinks(location)
		if err != nil {
			return fail.New(fail.Invalid, opBase, b.in.String(), "look at pg_tblspc in the data directory", err)
		}

		s, err := b.to.SaveTree(ctx, targets.TreeRequest{Dir: real, Exclude: []string{"pgsql_tmp*"}, Full: b.req.Full, Vanishing: true, Progress: b.req.Progress})
		if err != nil {
			return err
		}

		if b.a.Tablespaces == nil {
			b.a.Tablespaces = map[string]string{}
		}
		b.a.Tablespaces[oid] = targets.Tablespace{OID: oid, Location: location, Snapshot: s.Snapshot, Path: s.Path}.String()
		b.a.Bytes += s.Bytes
		b.a.BytesAdded += s.BytesAdded
	}

	return nil
}

// inspect refuses trees of which a base would lack a part of the database.
func (b *baseRun) inspect(ctx context.Context) error {
	spaces, err := tablespaces(b.dir)
	if err != nil {
		return fail.New(fail.Invalid, opBase, b.in.String(), "look at pg_tblspc in the data directory", err)
	}

	found, err := inspectTree(b.dir, inSystem, spaces)
	for oid, location := range spaces {
		if err != nil {
			break
		}

		var real string
		if real, err = filepath.EvalSymlinks(location); err != nil {
			break
		}
		var s strays

		s, err = inspectTree(real, inSpace, nil)
		for _, v := range s.vital {
			found.vital = append(found.vital, "pg_tblspc/"+oid+"/"+v)
		}
	}

	if err != nil {
		return fail.New(fail.Denied, opBase, b.in.String(), "the worker must be able to read the whole data directory", err)
	}

	if err := found.check(b.in); err != nil {
		return err
	}

	b.leftOut(ctx, found.other)

	return nil
}

// leftOut tells what is no part of the database and not in the base either.
func (b *baseRun) leftOut(ctx context.Context, names []string) {
	if len(names) > 0 {
		b.d.log.WarnContext(ctx, "backup: the base does not hold what these links of the data directory lead to; a recovery does not need it", "instance", b.in.String(), "links", strings.Join(names, ", "))
	}
}

// tablespaces maps the oid of each tablespace outside the data directory to
// its location. In-place tablespaces are ordinary directories of the tree.
func tablespaces(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "pg_tblspc"))
	if err != nil {
		return nil, err
	}

	out := map[string]string{}
	for _, e := range entries {
		if e.Type()&os.ModeSymlink == 0 || strings.Trim(e.Name(), "0123456789") != "" {
			continue
		}

		location, err := os.Readlink(filepath.Join(dir, "pg_tblspc", e.Name()))
		if err != nil {
			return nil, err
		}

		if !filepath.IsAbs(location) {
			location = filepath.Join(dir, "pg_tblspc", location)
		}
		out[e.Name()] = filepath.Clean(location)
	}

	return out, nil
}
