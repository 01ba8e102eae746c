// Package jobs does long work over whole collections, one job after the other, beside the calls of a server.
//
//	Create   a Spec -> a Job, which is durable when this returns
//	Watch    how far it is, until it ends
//	Cancel, Resume, Delete
//	OpenFile what has come of it
//
// The jobs of a data directory are in its folder jobs, each in a folder of its own:
//
//	jobs/
//	  near-duplicates-1f2e3d4c/
//	    job.json           what was asked for, and how it stands: sealed
//	    work/              the frozen collections, and files of the steps that are done; gone when the job is
//	    files/             the result
//
// # How a job is done
//
// First what it reads of the collections is frozen: the index by a link to its snapshot, which never changes, the papers by a table. Then
// it goes by steps, each of which makes a file of those before it. A file is whole and synced before it has its name, and a step whose file is there is
// not done again. So a process may be killed at any moment: the job goes on behind the last step, and its result is, to the byte, what it would have
// been.
//
// What compares papers runs as a process of its own, of the lowest priority: the kernel gives it what calls leave. What needs an encoder runs in this
// process, in the lane of bulk work.
//
// # Invariants
//
//  1. A job that was acknowledged is on the disk. It is done, or goes on at the next start of a server, unless it was cancelled or failed.
//  2. The files of a job are there, all of them and whole, once it is done; before, none can be opened.
//  3. The result of a job follows from the collections as they were when it was frozen, and its Spec: not from how often it was cut off. An evaluation, an export and a
//     re-encoding are not frozen: they read the collection as it is, an evaluation piece by piece.
package jobs
