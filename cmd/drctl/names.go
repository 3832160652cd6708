package main

import (
	"fmt"
	"slices"

	"drctl/config"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/targets"
)

// known refuses a name that a person gave and the configuration does not have:
// that is wrong usage. By is the flag or argument that it came with.
func known(what, by, name string, names []string) error {
	if slices.Contains(names, name) {
		return nil
	}

	return fail.New(fail.Invalid, "usage", by, human.Suggest(name, names), fmt.Errorf("there is no %s %q", what, name))
}

// knownRegion is known for a region; "" stands for a default and is taken.
func knownRegion(cfg *config.Config, flag, region string) error {
	if region == "" {
		return nil
	}

	return known("region", flag, region, cfg.RegionNames())
}

// shardsOf reads --shard; every shard must be one of the group.
func (s *session) shardsOf(group string, names []string) ([]targets.ShardID, error) {
	ids, err := shardsFlag(names)
	if err != nil {
		return nil, err
	}

	var have []string
	for _, id := range s.cfg.Shards(group) {
		have = append(have, id.String())
	}

	for _, id := range ids {
		if err := known("shard of "+group, "--shard", id.String(), have); err != nil {
			return nil, err
		}
	}

	return ids, nil
}

// notAnInstant takes the place of what Go says of a wrong time: its layouts help nobody.
func notAnInstant(s string) error { return fmt.Errorf("%q is not an instant", s) }
