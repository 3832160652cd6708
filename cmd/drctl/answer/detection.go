package answer

import (
	"drctl/internal/detection"
	"drctl/internal/detection/board"
)

// Detection is what is seen of the region of a group that may write.
type Detection struct {
	Group string `json:"group"`
	// Off and Acknowledged are what people have ordered, and Unread why that cannot be told.
	Off          *board.Order `json:"off,omitempty"`
	Acknowledged *board.Order `json:"acknowledged,omitempty"`
	Unread       string       `json:"unread,omitempty"`
	// Configured says that the configuration switches it off.
	Configured bool `json:"off_in_configuration,omitempty"`
	// Votes are the newest of each process of each place, and Silent are places of which there
	// is none.
	Votes  []detection.Vote `json:"votes"`
	Silent []string         `json:"silent,omitempty"`
}
