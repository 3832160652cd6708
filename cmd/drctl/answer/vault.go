package answer

import (
	"drctl/internal/upkeep"
	"drctl/targets"
)

// VaultMade is a vault that vault init made, or found made with the same key.
type VaultMade struct {
	Region    string `json:"region"`
	URL       string `json:"url"`
	Set       string `json:"set"`
	Recipient string `json:"recipient"`
}

// Repaired is a line of vault repair --json.
type Repaired struct {
	Key  string `json:"key"`
	From string `json:"from"`
}

// Removed is what backup rm prints as JSON.
type Removed struct {
	Base   string             `json:"base"`
	Shard  targets.ShardID    `json:"shard"`
	DryRun bool               `json:"dry_run"`
	Loses  upkeep.Loss        `json:"loses"`
	Vaults []upkeep.Retention `json:"vaults"`
}
