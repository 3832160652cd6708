package shop

import (
	"context"

	"drctl/internal/lab/shop/check"
	"drctl/internal/lab/shop/journal"
	"drctl/internal/lab/shop/meter"
	"drctl/internal/lab/shop/setup"
	"drctl/internal/lab/shop/stores"
	"drctl/internal/lab/shop/transfer"
)

// What the rooms of the shop make is named here, so that who uses a shop needs this
// package alone.
type (
	Platform     = stores.Platform
	Record       = journal.Record
	Second       = meter.Second
	Summary      = meter.Summary
	Resolved     = meter.Resolved
	Outage       = meter.Outage
	SetupOptions = setup.Options
	StoreFelt    = meter.Store
	CheckOptions = check.Options
	Report       = check.Report
	Violation    = check.Violation
)

// The styles of transfers: see the transfer package.
const (
	TwoPhase = transfer.TwoPhase
	Plain    = transfer.Plain
	Mix      = transfer.Mix
)

// The rules of Check: see the check package.
const (
	RuleAcked     = check.RuleAcked
	RuleLater     = check.RuleLater
	RuleJournaled = check.RuleJournaled
	RuleWhole     = check.RuleWhole
	RuleRows      = check.RuleRows
	RuleSums      = check.RuleSums
	RulePrepared  = check.RulePrepared
	RuleCarts     = check.RuleCarts
	RuleImages    = check.RuleImages
	RuleBarrier   = check.RuleBarrier
	RuleGrade     = check.RuleGrade

	// Now is the cut of CheckServing.
	Now = check.Now
)

// Rules lists all rules in order.
var Rules = check.Rules

// Setup makes the shop on a platform; it may be repeated.
func Setup(ctx context.Context, p Platform, o SetupOptions) error { return setup.Shop(ctx, p, o) }

// CheckServing holds a platform that serves, and whose customers have left, against the
// journal.
func CheckServing(ctx context.Context, o CheckOptions) (Report, error) { return check.Serving(ctx, o) }

// Check holds recovered instances against the journal.
func Check(ctx context.Context, o CheckOptions) (Report, error) { return check.Recovered(ctx, o) }
