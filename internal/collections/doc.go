// Package collections keeps the collections of a data directory: which there are, what each was made with, and the other names that they go by.
//
// The collection named default is the data directory itself. The others lie in it, each a data directory of its own:
//
//	data/
//	  store/ ...               the default collection
//	  collections/
//	    aliases.json           other names; not there before the first
//	    NAME/
//	      collection.json      what it was made with, and when
//	      store/ ...
//	      generations/N/       where it has moved to another model: see generation.go
//	    .making-NAME/          one that is being made: removed at a start
//	    .deleting-NAME-N/      one that is being removed: removed at a start
//
// A data directory that nobody has made a collection in has no folder collections.
//
// A collection is there from the moment on that its folder, whole, gets its name. It is gone from the moment on that its collection.json is called
// collection.deleted; a start removes what is left of it. The aliases change when their new file takes the place of the one before. So a
// process may be killed at any moment.
//
// A collection that moves to another model has two generations, of which one is served and the other follows it. Which one is served changes with
// its collection.json, at once; see [Set.StartMigration].
//
// A collection that cannot be opened does not keep the others from being used: calls for it are refused, with the reason, until the next start.
package collections
