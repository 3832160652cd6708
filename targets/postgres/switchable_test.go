package postgres

import "drctl/targets/handover"

// The driver moves primaries, feeds standbys, and tells what was lost or is in doubt.
var (
	_ handover.Switcher   = (*Driver)(nil)
	_ handover.Feeder     = (*Driver)(nil)
	_ handover.LossTeller = (*Driver)(nil)
	_ handover.Asking     = (*Driver)(nil)
)
