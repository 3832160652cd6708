package fail

import (
	"errors"
	"strings"
)

// Answered reports whether a server itself has said the error, such as that it has no connection free,
// is starting, or runs a script: it is there. Of PostgreSQL that is every SQLSTATE but those
// of class 08, which proxies say of a server behind them; of Redis every error that it replied.
func Answered(err error) bool {
	var pg interface{ SQLState() string }
	if errors.As(err, &pg) {
		return pg.SQLState() != "" && !strings.HasPrefix(pg.SQLState(), "08")
	}

	var redis interface{ RedisError() }

	return errors.As(err, &redis)
}
