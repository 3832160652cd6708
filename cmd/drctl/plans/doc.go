// Package plans has the commands about recovery plans between regions: what the plan
// is, what is wrong with it, what an edit changes, what comes of it at the table, and what
// its past runs and drills say of it.
//
// None of them touches a server, and none writes to a vault.
package plans
