package loadgen

import "strings"

// wordList returns the words of synthetic prompts: common ones, since most vocabularies have each
// as one token with the space before it, and so many that different prompts soon differ, and share
// no page of a prefix cache.
func wordList() []string { return strings.Fields(commonWords) }

const commonWords = `
a about above across act add after again age ago air all also always am among an and animal answer
any are area as ask at away back base be became because become been before began best better
between big bird black blue boat body book both box boy bring brought build but by call came can car
care carry change check child city class clear close cold color come common could country course
cover cross cut dark day deep did do does dog done door down draw drive dry during each early earth
east easy eat end enough even ever every example eye face fact fall family far farm fast father feel
feet few field figure find fine fire first fish five fly follow food foot for form found four free
friend from front full game gave get girl give go gold good got great green ground group grow had
half hand happen hard has have he head hear heard heart help her here high him his hold home horse
hot hour house how hundred idea if in interest is it just keep kind king knew know land language
large last late later lead learn leave left less let letter life light like line list listen little
live long look love low machine made main make man many map mark may mean measure men might mile
mind minute miss money moon more morning most mother mountain move much music must my name near need
never new next night no north note nothing notice now number object of off often old on once one
only open or order other our out over own page paper part pass people perhaps person picture piece
place plain plan plant play point power press problem produce product pull put question quick
quite rain ran reach read ready real record red remember rest right river road rock room round rule
run said same saw say school science sea second see seem sentence serve set several shape she ship
short should show side simple since sing sit six size sleep slow small snow so some song soon sound
south special stand star start state stay step still stood stop story street strong study such sun
sure surface system table tail take talk teach tell ten test than that the their them then there
these they thing think this those though thought thousand three through time to together told too
took top toward town travel tree true try turn two under unit until up upon us use usual very voice
vowel wait walk want war warm was watch water way we week weight well went were west what wheel when
where which while white who whole why will wind with without wonder wood word work world would write
year yes yet you young your`
