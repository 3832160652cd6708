package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"drctl/internal/fail"
	"drctl/internal/servers"
)

// Faults are the kinds of fault that Break plants.
var Faults = []string{"region", "kill", "destroy", "stop", "cont"}

// Break plants a fault: "region" kills every server of a region (SIGKILL) and
// deletes its disks; "kill" kills one server; "destroy" also deletes its disk;
// "stop" and "cont" freeze and thaw one.
func (l *Lab) Break(_ context.Context, fault, what string) error {
	var hit []int
	for i, s := range l.Servers() {
		if fault == "region" && s.Region == what || fault != "region" && s.Name == what {
			hit = append(hit, i)
		}
	}
	if len(hit) == 0 {
		var names []string
		for _, s := range l.Servers() {
			names = append(names, s.Name)
		}
		return fail.New(fail.NotFound, "lab: break", what, "regions: east, west; servers: "+strings.Join(names, ", "), errors.New("the lab has no such region or server"))
	}
	var wg sync.WaitGroup
	errs := make([]error, len(hit))
	for n, i := range hit {
		wg.Go(func() { errs[n] = l.breakOne(fault, i) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if fault == "region" {
		if err := os.RemoveAll(l.regionDir(what)); err != nil {
			return fail.FromOS("lab: delete disks", l.regionDir(what), err)
		}
	}
	return nil
}

func (l *Lab) breakOne(fault string, i int) error {
	s := l.Servers()[i]
	signal := func(sig syscall.Signal) error {
		if err := s.Proc.Signal(sig); err != nil {
			return fail.New(fail.Unavailable, "lab: break", s.Name, "is it running? see: drlab status", err)
		}
		return nil
	}
	switch fault {
	case "kill", "destroy", "region":
		if err := s.Proc.Kill(); err != nil {
			return err
		}
		if fault != "kill" {
			if err := os.RemoveAll(s.Dir); err != nil {
				return fail.FromOS("lab: delete disk", s.Dir, err)
			}
		}
		return l.update(i, func(x *Server) {
			x.Proc = servers.Server{}
			x.Made = x.Made && fault == "kill"
		})
	case "stop":
		return signal(syscall.SIGSTOP)
	case "cont":
		return signal(syscall.SIGCONT)
	}
	return fail.New(fail.Invalid, "lab: break", fault, "use one of "+strings.Join(Faults, ", "), errors.New("unknown fault"))
}

func hostPort(addr string) (string, uint16, error) {
	h, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fail.New(fail.Invalid, "address", addr, "", err)
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return "", 0, fail.New(fail.Invalid, "address", addr, "", fmt.Errorf("%q is not a port", p))
	}
	return h, uint16(n), nil
}
