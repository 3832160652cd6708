// Package plans has the commands about recovery plans between regions: what the plan
// is, what is wrong with it, what an edit changes, and what comes of it at the table.
//
// None of them touches a server or a vault.
package plans
