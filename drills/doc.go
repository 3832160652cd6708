// Package drills says what a restore drill is. It
//   - picks the recovery point that the drill recovers;
//   - checks the restored stores against each other;
//   - measures how long the way back took and how much was lost;
//   - judges that against the objectives;
//   - puts the evidence together.
//
// It promises that
//   - picking, measuring, judging and recording are pure: time and seed are
//     parameters;
//   - a drill which confirmed nothing of a store fails;
//   - a field which nobody recorded says so in the evidence.
//
// The checks connect to sandbox instances only: an instance of any other role is
// refused before a connection is opened. It never restores, never removes and
// never claims compliance: a record supports a control, people judge whether it
// is met.
package drills
