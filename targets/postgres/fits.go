package postgres

import (
	"context"
	"fmt"
	"regexp"
	"strconv"

	"drctl/internal/fail"
	"drctl/internal/servers"
	"drctl/targets"
)

var _ targets.Fitter = (*Driver)(nil)

var programMajor = regexp.MustCompile(`\) (\d+)`)

// Fits compares the major version of this host's programs with the base's:
// PostgreSQL reads the data directory of its own major version only.
func (d *Driver) Fits(ctx context.Context, base targets.Artifact) error {
	return fits(ctx, d.tools, base)
}

func fits(ctx context.Context, tools servers.Binaries, base targets.Artifact) error {
	num, err := strconv.Atoi(base.Settings["server_version_num"])
	if err != nil {
		return fail.New(fail.Corrupt, opRestore, base.Shard.String(), "choose another base", fmt.Errorf("the record of base %s has no usable server_version_num", base.ID))
	}
	out, err := runProgram(ctx, opRestore, tools, nil, "postgres", "--version")
	if err != nil {
		return err
	}
	m := programMajor.FindStringSubmatch(out)
	if m == nil {
		return fail.Newf(fail.Internal, opRestore, base.Shard.String(), "unknown version %q", out)
	}
	have, _ := strconv.Atoi(m[1])
	if have == num/10000 {
		return nil
	}
	return fail.New(fail.Unsupported, opRestore, base.Shard.String(), fmt.Sprintf("install postgresql-%d and name its programs in the configuration", num/10000),
		fmt.Errorf("the base is of PostgreSQL %d, the programs in %s are version %d", num/10000, tools.PostgresBin, have))
}
