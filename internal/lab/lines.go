package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"drctl/internal/fail"
	"drctl/internal/lab/lines"
	"drctl/internal/servers"
	"drctl/targets"
)

// linesName is the name, kind and role of the process that carries the lines.
const linesName = "lines"

// engineName is the engine at the end of a line.
const engineName = "engine"

// witness is the store outside of both regions, of a lab with lines: what is in a file cannot be cut off.
var witness = targets.ShardID{Target: "witness", Shard: "0"}

// Lined reports whether what is in another region is reached over lines.
func (l *Lab) Lined() bool { return l.st.Drlab != "" }

// Lines are the lines over the borders of regions.
func (l *Lab) Lines() []lines.Line { return l.st.Lines }

// LineDir is the directory of the lines' faults.
func (l *Lab) LineDir() string { return filepath.Join(l.dir, linesName) }

// addWitness records what a lab with lines has more than others.
func (l *Lab) addWitness(program string) error {
	if program == "" {
		return fail.New(fail.Invalid, "lab: make", l.dir, "", errors.New("no program is named that carries the lines"))
	}

	port, err := servers.FreePort()
	if err != nil {
		return err
	}

	l.st.Drlab = program
	l.st.Servers = append(l.st.Servers,
		Server{Name: lines.Outside + "/" + witness.String(), Region: lines.Outside, Shard: witness, Kind: targets.S3, Role: targets.Primary, Port: port, Dir: filepath.Join(l.dir, lines.Outside, "witness0")},
		Server{Name: linesName, Kind: linesName, Role: linesName, Dir: l.LineDir()})

	return nil
}

// ends are what lines lead to.
func (l *Lab) ends() []lines.End {
	out := []lines.End{{Name: engineName, Place: lines.Outside, Address: Server{Port: l.st.Engine}.Address()}}

	for _, s := range l.st.Servers {
		switch {
		case s.Role == linesName:
		case s.Role == Proxy:
			out = append(out, lines.End{Name: s.Name, Place: lines.Outside, Address: Server{Port: s.asked()}.Address()})
		default:
			out = append(out, lines.End{Name: s.Name, Place: s.Region, Address: s.Address()})
		}
	}

	return out
}

// prepareLines has a lab with lines ready for its servers to be started.
func (l *Lab) prepareLines(ctx context.Context, o Options) error {
	if o.Lines && !l.Lined() {
		return fail.New(fail.Conflict, "lab: up", l.dir, "make another lab", errors.New("a lab gets lines when it is made: the servers of this one have none between them"))
	}

	if !l.Lined() {
		return nil
	}

	if o.Program != "" {
		l.st.Drlab = o.Program
	}

	all, err := lines.Draw(l.st.Lines, []string{East, West, lines.Outside}, l.ends(), servers.FreePort)
	if err != nil {
		return err
	}
	more := len(all) > len(l.st.Lines)
	l.st.Lines = all

	for i, s := range l.st.Servers {
		if s.Role == linesName && more { // it carries those that it found at its start
			if err := s.Proc.Stop(ctx); err != nil {
				return err
			}
			l.st.Servers[i].Proc = servers.Server{}
		}
	}

	return l.save()
}

// asked is the port at which drctl asks a proxy.
func (s Server) asked() int {
	if s.Runtime != 0 {
		return s.Runtime
	}

	return s.Port
}

// reach is the address at which a place finds a server that is at another address for those beside it.
func (l *Lab) reach(viewer, server, address string) string {
	return lines.Reach(l.st.Lines, viewer, server, address)
}

// seen is a server as a place sees it.
func (l *Lab) seen(viewer string, in targets.Instance) targets.Instance {
	scheme, at, web := strings.Cut(in.Address, "://")
	if !web {
		scheme, at = "", in.Address
	}

	at = l.reach(viewer, in.Region+"/"+in.Shard.String(), at)
	if in.Address = at; web {
		in.Address = scheme + "://" + at
	}

	return in
}

func (l *Lab) startLines(ctx context.Context, s Server) (servers.Server, error) {
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return servers.Server{}, fail.FromOS("lab: start", s.Dir, err)
	}

	return l.tools.StartProgram(ctx, servers.ProgramSpec{Name: s.Name, Kind: s.Kind, Dir: s.Dir, Path: l.st.Drlab, Args: []string{"lines", "--dir", l.dir},
		Ready: func() bool { return lines.Carried(s.Dir) }})
}

// lineFault plants a fault on a link, or takes it away.
func (l *Lab) lineFault(ctx context.Context, f Fault, undo bool) error {
	if !l.Lined() {
		return fail.New(fail.Unsupported, opFault, f.Do+" "+f.What, "make a lab with: drlab up --lines", errors.New("the servers of this lab have no lines between them"))
	}

	if !lines.Means(l.Lines(), f.What) {
		return fail.New(fail.NotFound, opFault, f.What, "name a place (east, west, outside), a server, PLACE/SERVER as that place sees it, or PLACE/PLACE; see: drlab status", errors.New("there is no such link"))
	}

	if undo {
		return lines.Mend(ctx, l.LineDir(), f.Do, f.What)
	}

	x := lines.Fault{Do: f.Do, Link: f.What, By: f.By, Rate: f.Rate}

	if x.Do == lines.Cut {
		x.Way = f.Way
	}

	return lines.Plant(ctx, l.LineDir(), x)
}
