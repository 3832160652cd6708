// Package restore is the room of recovery plans; what it holds is in its
// packages: plan (the data), recovery (which plan reaches a goal from what a
// vault holds).
package restore
