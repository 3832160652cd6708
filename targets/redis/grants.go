package redis

import (
	"context"
	"slices"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"drctl/targets"
)

// rightsScript asks the server itself whether the user may run each command,
// without running it: one argument is one command with its arguments. A command
// that the server does not know (renamed or taken away) is told apart.
const rightsScript = `
local lacks = {}
for i = 1, #ARGV do
  local words = {}
  for w in string.gmatch(ARGV[i], '%S+') do words[#words + 1] = w end
  local ok, may = pcall(redis.acl_check_cmd, unpack(words))
  if not ok then lacks[#lacks + 1] = '?' .. words[1] elseif not may then lacks[#lacks + 1] = '-' .. ARGV[i] end
end
return lacks`

// pauses is what the right to pause is for.
const pauses = "cuts of several masters, which are consistent among each other only if their writers wait for a moment"

// command is a call with the right that it needs.
type command struct{ call, right, use string }

// Preflight implements targets.Preflighter.
func (d *Driver) Preflight(ctx context.Context, in targets.Instance, need targets.Needs) ([]targets.Lack, error) {
	const op = "redis: preflight"

	c, err := client(in, 0)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	key := MarkerKey(need.Group)
	commands := []command{
		{"ping", "+ping", "status"}, {"info replication", "+info", "everything"}, {"select 0", "+select", "checks"}, {"dbsize", "+dbsize", "checks"},
		{"psync ? -1", "+psync", "the archiver"}, {"replconf capa eof", "+replconf", "the archiver"},
		{"set " + key + " x", "+set ~drctl:cut:*", "cuts"}, {"config get save", "+config|get", "bases and status"},
	}

	if need.Pause {
		commands = append(commands, command{"client pause 1 write", "+client|pause", pauses}, command{"client unpause", "+client|unpause", pauses})
	}

	var calls []any
	for _, x := range commands {
		calls = append(calls, x.call)
	}

	user := in.User
	if user == "" {
		user = "default"
	}
	grant := func(right string) string { return "ACL SETUSER " + user + " " + right }

	said, err := c.Eval(ctx, rightsScript, nil, calls...).StringSlice()
	if goredis.HasErrorPrefix(err, "NOPERM") {
		lacks := []targets.Lack{{What: "+eval", For: "cuts", Fix: grant("+eval")}}
		return append(lacks, plainLacks(ctx, c, grant)...), nil
	}

	if err != nil {
		return nil, wrap(op, in, err)
	}

	var lacks []targets.Lack
	for _, x := range commands {
		word, _, _ := strings.Cut(x.call, " ")
		switch {
		case slices.Contains(said, "-"+x.call):
			lacks = append(lacks, targets.Lack{What: x.right, For: x.use, Fix: grant(x.right)})
		case slices.Contains(said, "?"+word):
			lacks = append(lacks, targets.Lack{What: "the command " + word, For: x.use, Fix: "remove its rename-command from redis.conf (the server does not know it)"})
		}
	}

	return lacks, nil
}

// plainLacks tries what can be tried without a script and changes nothing.
func plainLacks(ctx context.Context, c *goredis.Client, grant func(string) string) []targets.Lack {
	var lacks []targets.Lack
	for _, x := range []struct {
		call  []any
		right string
		use   string
	}{
		{[]any{"ping"}, "+ping", "status"}, {[]any{"info", "replication"}, "+info", "everything"}, {[]any{"select", 0}, "+select", "checks"},
		{[]any{"dbsize"}, "+dbsize", "checks"}, {[]any{"config", "get", "save"}, "+config|get", "bases and status"},
		{[]any{"replconf", "capa", "eof"}, "+replconf", "the archiver"},
	} {
		if goredis.HasErrorPrefix(c.Do(ctx, x.call...).Err(), "NOPERM") {
			lacks = append(lacks, targets.Lack{What: x.right, For: x.use, Fix: grant(x.right)})
		}
	}

	return append(lacks, targets.Lack{What: "perhaps +psync and +set ~drctl:cut:*", For: "the archiver and cuts; it cannot be told without +eval", Fix: grant("+psync +set ~drctl:cut:*")})
}
