package postgres

import "time"

// StandStill sets how long the archive may stand still before a server that is
// stopped no longer waits for it.
func StandStill(d *Driver, limit time.Duration) { d.stand = limit }
