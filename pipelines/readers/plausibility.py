"""How much a text looks like writing rather than bytes decoded by the wrong charset: a number from 0 to 1.

Every character beyond ASCII is weighed by what it is: a letter that the most fitting language uses, a letter of the same
script, punctuation, a symbol, a control character. Letters in the middle of a word that change script or go from small
to capital are what wrong charsets make, and count against it. Alphabets are those of the languages' orthographies.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import cache

ALPHABETS = {
    "catalan": "àçèéíïòóúü·", "dutch": "éëïöüáóè", "german": "äöüß", "french": "éèàêçùâîôûëïœ", "spanish": "áéíóúñü¿¡",
    "portuguese": "ãçáéíóõúâêôà", "italian": "àèéìòù", "nordic": "åäöæø", "hungarian": "áéíóöőúüű",
    "polish": "ąćęłńóśźż", "czech": "áčďéěíňóřšťúůýžľĺŕôä", "croatian": "čćđšž", "romanian": "ăâîşţșț", "turkish": "çğıöşüİâ",
    "baltic": "āčēģīķļņōŗšūžąęėįųõäöü", "esperanto": "ĉĝĥĵŝŭ", 
    "vietnamese": "ăâđêôơưàảãáạằẳẵắặầẩẫấậèẻẽéẹềểễếệìỉĩíịòỏõóọồổỗốộờởỡớợùủũúụừửữứựỳỷỹýỵ"
    "\u0300\u0301\u0303\u0309\u0323", "icelandic": "áéíóúýþæöð",
}  # fmt: skip
CYRILLIC = "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъёіїєґўјљњћђџ"
"""Russian letters from frequent to rare, then those of its neighbours."""
GREEK = "αοιετσνηυρπκμλςωδγχθφβξζψάέήίόύώϊϋΐΰ"
PUNCTUATION = frozenset(
    "«»“”„‘’‚–—…•·°©®™€£§№×½¼¾²³¹\u00a0\u00ad、。，．・：；？！（）「」『』《》〈〉【】ー～々〜／＝－＋％＆※○●■◆★☆→←↑↓α"
)
SIMPLIFIED = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感建务做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像难且权思王象完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运"
)
TRADITIONAL = frozenset(
    "這個們來為國說時會對過發後裡種經麼學現當沒動還進樣開從實軍無與長機關點業將兩間問應戰頭體見產話門員東聲論義條氣題爾別變總電數報結務場計資統區隊決馬書則聽達強難權設記類據張該規萬術領確傳師觀讓識帶導爭運"
)
HANGUL = frozenset(
    "이다는을의에가고로하지도를한기사은인서시대정자어그리나수해보일부들과장전아스주제있게상구원동선성신것여소조만면위안국트유경중"
)
"""The most frequent syllables: bytes of other East Asian charsets decode to any."""
PAGE_CHARACTERS = 20_000
MIXED_CASE = re.compile(r"[a-zß-öø-ÿа-џα-ώ][A-ZÀ-ÖØ-ÞА-ЯЀ-ЏΑ-Ω][a-zà-öø-ÿа-џα-ώ]")

SCRIPT_BREAK = re.compile(r"[a-zA-Z][Ѐ-џΑ-ώא-ת]|[Ѐ-џΑ-ώא-ת][a-zA-Z]|[Ѐ-џ][Α-ώ]|[Α-ώ][Ѐ-џ]")
"""Letters of two alphabets next to each other."""
LATIN_RUN = re.compile(r"[ª\u00b2-\u00ba\u00c0-\u024f]{3,}")
"""Letters with accents follow each other by threes in no orthography, but in Hebrew or Russian decoded as Latin."""


def looks_like_writing(text: str) -> float:
    """0 for noise to 1 for writing; 1 for plain ASCII. Only the first and last 20,000 characters are looked at."""
    if len(text) > 2 * PAGE_CHARACTERS:
        text = text[:PAGE_CHARACTERS] + text[-PAGE_CHARACTERS:]
    counts = Counter(character for character in text if character > "\x7f")
    total = sum(counts.values())
    controls = sum(text.count(chr(code)) for code in (*range(9), *range(14, 27), *range(28, 32), 127))
    if not total:
        return 1.0 if not controls else 0.0
    latin = {character: count for character, count in counts.items() if _script(character) == "latin"}
    fitting = _fitting_alphabet(latin)
    score = sum(count * _weight(character, fitting) for character, count in counts.items()) / total
    breaks = len(MIXED_CASE.findall(text)) + len(SCRIPT_BREAK.findall(text))
    runs = sum(len(run) for run in LATIN_RUN.findall(text))
    return max(0.0, score - min((breaks + runs) / total, 0.6) - min(controls * 4 / total, 0.8))


def is_east_asian(text: str) -> bool:
    """Whether at least 40% of the characters are frequent Chinese ones, kana, or East Asian punctuation."""
    frequent = sum(
        character in SIMPLIFIED
        or character in TRADITIONAL
        or character in PUNCTUATION
        or "\u3040" <= character <= "\u30ff"
        for character in text
    )
    return frequent * 5 >= len(text) * 2


def _weight(character: str, fitting: frozenset[str]) -> float:
    if character in PUNCTUATION:
        return 0.75
    script = _script(character)
    if script == "latin":
        return 1.0 if character in fitting else 0.25
    if script == "cyrillic":
        rank = CYRILLIC.find(character.lower())
        if rank < 0:
            return 0.1
        return max(1.05 - rank * 0.02, 0.2) - (0.25 if character.isupper() else 0.0)
    if script == "greek":
        rank = GREEK.find(character.lower())
        return (max(1.0 - rank * 0.02, 0.4) if rank >= 0 else 0.2) - (0.1 if character.isupper() else 0.0)
    if script == "han":
        return 1.0 if character in SIMPLIFIED or character in TRADITIONAL else 0.6
    if script == "hangul":
        return 1.0 if character in HANGUL else 0.65
    return SCRIPT_WEIGHTS[script]


SCRIPT_WEIGHTS = {"kana": 0.95, "hebrew": 0.9, "arabic": 0.9, "thai": 0.9, "other": 0.5, "mark": 0.6,
                  "symbol": 0.15, "bad": -1.0, "halfwidth": 0.3}  # fmt: skip


def _fitting_alphabet(latin: dict[str, int]) -> frozenset[str]:
    """The alphabet that explains most of the letters; of two, the one with fewer letters."""
    best: frozenset[str] = frozenset()
    best_count = 0
    for letters in sorted(ALPHABETS.values(), key=len):
        both = frozenset(letters + letters.upper())
        explained = sum(count for character, count in latin.items() if character in both)
        if explained > best_count:
            best, best_count = both, explained
    return best


@cache
def _script(character: str) -> str:
    code = ord(character)
    category = unicodedata.category(character)
    if category in ("Cc", "Cn", "Co", "Cs") or character == "\ufffd":
        return "bad"
    for low, high, name in RANGES:
        if low <= code <= high:
            return name if category[0] in "LM" or name in ("halfwidth", "kana") else "symbol"
    return "other" if category[0] == "L" else "mark" if category[0] == "M" else "symbol"


RANGES = (
    (0xAA, 0x24F, "latin"), (0x1E00, 0x1EFF, "latin"), (0x300, 0x36F, "latin"), (0x370, 0x3FF, "greek"),
    (0x400, 0x4FF, "cyrillic"), (0x590, 0x5FF, "hebrew"), (0x600, 0x6FF, "arabic"), (0xE00, 0xE7F, "thai"),
    (0x3040, 0x30FF, "kana"), (0x3400, 0x9FFF, "han"), (0xAC00, 0xD7A3, "hangul"), (0x1100, 0x11FF, "hangul"),
    (0xFF61, 0xFFDC, "halfwidth"),
)  # fmt: skip
