package drills

import "encoding/json"

// Outcome is how a drill ended and where its report is.
type Outcome struct {
	ID     string `json:"id"`
	Passed bool   `json:"passed"`
	SHA256 string `json:"content_sha256,omitempty"` // the record's own, by which it is known again
	// Record is left out where the vaults hold it.
	Record  json.RawMessage `json:"record,omitempty"`
	JSON    string          `json:"json_file"`
	HTML    string          `json:"html_file"`
	Vaults  []string        `json:"vaults"`
	Sandbox string          `json:"sandbox,omitempty"` // when it was kept
	// Problem says why no vault holds the report, which is then in the files
	// alone.
	Problem string `json:"problem,omitempty"`
}
