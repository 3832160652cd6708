package plan

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"drctl/targets"
)

// Check reports what is wrong with a step that comes from elsewhere, such as a
// workflow's payload, by a clock: see targets.Artifact.Check. It is asked before
// any of the step's values becomes a path or an argument.
func (s Step) Check(now time.Time) error {
	if s.Op != OpRestore && s.Op != OpVerify {
		return fmt.Errorf("operation %.80q is not known", string(s.Op))
	}

	err := cmp.Or(targets.CheckText("step", s.ID), s.Shard.Check(), s.Kind.Check(), s.checkPoint(), s.Into.Check(), s.checkSizes(), targets.CheckInDoubt(s.InDoubt))
	if err != nil {
		return err
	}

	for _, p := range s.Path {
		if err := p.Check(s.Kind); err != nil {
			return err
		}
	}

	if s.Op == OpVerify || s.Kind.Traits().Manifest {
		return nil // they need no base
	}

	if s.Base.Shard != s.Shard || s.Base.Kind != s.Kind {
		return fmt.Errorf("the base %.80q is of shard %s, kind %s", s.Base.ID, s.Base.Shard, s.Base.Kind)
	}

	return s.Base.Check(now)
}

func (s Step) checkPoint() error {
	if s.Op == OpVerify && s.Point == (targets.Position{}) {
		return nil
	}

	if s.Point.Kind != s.Kind {
		return fmt.Errorf("the point is of kind %.80q, the shard of kind %s", string(s.Point.Kind), s.Kind)
	}

	return s.Point.Check()
}

func (s Step) checkSizes() error {
	if s.BaseBytes < 0 || s.StreamBytes < 0 || s.Chunks < 0 || s.Objects < 0 {
		return errors.New("a size is negative")
	}

	return nil
}

// Check reports what is wrong with a destination; the zero value is a sandbox.
func (d Destination) Check() error {
	var errs []error
	if d.Region != "" && !targets.IsName(d.Region) {
		errs = append(errs, fmt.Errorf("region %.80q is not a name", d.Region))
	}

	if d.Bucket != "" && (!targets.IsName(d.Bucket) || len(d.Bucket) > 255) {
		errs = append(errs, fmt.Errorf("bucket %.80q is not a name", d.Bucket))
	}

	if d.Host != "" && !targets.IsName(d.Host) {
		errs = append(errs, fmt.Errorf("host %.80q is not a name", d.Host))
	}

	if d.DataDir != "" {
		errs = append(errs, targets.CheckPath("data directory", d.DataDir))
	}

	if d.DataDir == "/" {
		errs = append(errs, errors.New("the data directory is the root of the file system"))
	}

	return errors.Join(append(errs, checkAddress(d.Address))...)
}

// checkAddress wants host:port, or the URL of an S3 endpoint.
func checkAddress(s string) error {
	if s == "" {
		return nil
	}
	err := targets.CheckText("address", s)

	host := s
	if strings.Contains(s, "://") {
		u, uerr := url.Parse(s)
		if uerr != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
			return fmt.Errorf("address %.80q is not the URL of a server", s)
		}
		host = u.Host
	} else if err == nil {
		host, _, err = net.SplitHostPort(s)
	}

	if err == nil && (host == "" || strings.HasPrefix(host, "-")) {
		err = fmt.Errorf("address %.80q names no host", s)
	}

	return err
}
