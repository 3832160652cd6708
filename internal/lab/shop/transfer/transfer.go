package transfer

import (
	"fmt"

	"drctl/internal/lab/shop/journal"
)

// The styles in which a transfer commits on its two shards.
const (
	// TwoPhase: PREPARE TRANSACTION on both, then COMMIT PREPARED on both.
	TwoPhase = "2pc"
	// Plain: both shards written, then two ordinary commits.
	Plain = "plain"
	// Mix: either, by chance.
	Mix = "mix"
)

// SQL is the SQL of one half of a transfer.
func SQL(r *journal.Record, n int) string {
	amount := r.Amount
	if n == 0 {
		amount = -amount
	}

	table, key, value := "accounts", "id", "balance"
	if r.Kind == journal.KindStock {
		table, key, value = "stock", "sku", "qty"
	}

	return fmt.Sprintf("UPDATE %[1]s SET %[3]s = %[3]s + (%[4]d) WHERE %[2]s = %[5]d; INSERT INTO transfers VALUES ('%[6]s', %[7]d, %[4]d, '%[8]s')",
		table, key, value, amount, r.Rows[n], r.ID, n, r.Kind)
}

// GIDs is the rule by which the gids of both halves name one transfer.
const GIDs = "^shop-(.+)-[01]$"

// GID names one half of a transfer in two phases.
func GID(id string, leg int) string { return fmt.Sprintf("shop-%s-%d", id, leg) }
