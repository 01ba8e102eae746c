package atlas

import "strings"

// emptyWords say nothing about what a paper is about: those of the language, and those of all titles.
var emptyWords = func() map[string]bool {
	all := map[string]bool{}
	for _, w := range strings.Fields(`
a about above across after again against all almost along already also although always am among an and another any are aren't around as at
be because been before being below beneath between beyond both but by can can't cannot could do does doesn't doing don't down during each either
enough even ever every few for from further had has hasn't have having he her here how however i if in indeed inside instead into is isn't it its itself
just least less let like many may me might more most much must my near neither never no nor not nothing now of off often on once one only onto
or other others our out outside over own per perhaps quite rather really same several she should since so some still such than that the their them
then there therefore these they this those through throughout thus to together too toward towards two under until up upon us use used uses using
very via was we well were what whatever when where whether which while who whom whose why will with within without would yet you your

approach approaches analysis application applications aspect assessment based beyond case challenge challenges characterization comparative comparing comparison
concept consideration contribution dependent design determination development different effect effects efficient effective employing enhanced
enhancing establishing evaluating evaluation evidence example exploring extended extension first framework from full fully further general generalized
good high highly identification implication implications improve improved improving including increasing influence insight insights introducing introduction
investigating investigation issue issues large learn making measure method methods methodology multiple need new next note novel observation on
overview paper perspective perspectives possible practical preliminary problem problems proposal report result results review revisited revisiting
role simple small some special study studies studying survey systematic task tasks technique techniques theory three toward towards
understanding unified use useful usage various version way work working 
i ii iii iv part et al vs versus non de la le les des du et en un une der die das und von für des
`) {
		all[w] = true
	}
	return all
}()
