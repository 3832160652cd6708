// Package drillview shows the records of drills to people and programs.
package drillview
