// Package drills says what a restore drill is. It picks the recovery point,
// checks the restored stores against each other, measures RTO and loss, judges
// them against the objectives, and puts the evidence together.
//
// Picking, measuring, judging and recording are pure: time and seed are
// parameters. A drill which confirmed nothing of a store fails. A field which
// nobody recorded says so in the evidence. The checks refuse any instance that is
// no sandbox before they connect.
//
// It never restores, never removes and never claims compliance: a record supports
// a control, people judge whether it is met.
package drills
