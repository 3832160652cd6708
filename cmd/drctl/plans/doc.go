// Package plans has the commands about recovery plans between regions: what the plan
// is, what is wrong with it, what an edit changes, what comes of it at the table, and what
// its past runs and drills say of it.
//
// None of them changes a server or writes to a vault. Servers are asked for one thing alone: how far
// they are, where both ways of a failover are shown.
package plans
