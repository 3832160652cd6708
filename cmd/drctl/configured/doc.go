// Package configured says what can be reached, and by which names, as the
// configuration says it. It opens a vault when it is asked for, once, and never
// fails for one that is away where others will do.
package configured
