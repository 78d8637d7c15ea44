"""What a model calls a language, as this project calls it: ISO 639-1 where there is one, else ISO 639-3.

Models name languages in two ways. Labels with a script, `eng_Latn` (GlotLID, OpenLID, NLLB), are ISO 639-3 and ISO
15924. Labels without one, `als` (lid.176), are names of Wikipedias, which differ from ISO where `WIKIPEDIA` says so:
https://meta.wikimedia.org/wiki/Special_language_codes. So `als` is Alemannic there, and Tosk Albanian in `als_Latn`.

Macrolanguages stay what they are (`no`, `zh`, `sh` as `hbs`). An individual language that stands for its macrolanguage
takes that one's code, as in CLDR's `languageAlias` of reason "macrolanguage": `arb` is `ar`, `cmn` is `zh`, so that rules
per language hold for every model. `eml` (retired in 2009 without one successor) and `nah` (a collective code of ISO
639-2) stay, since no code of ISO 639-3 means the same.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from pipelines.errors import ConfigError

UNDETERMINED: Final = "und"

_LABEL: Final = re.compile(r"([a-z]{2,3})(?:[_-]([A-Z][a-z]{3}))?")

WIKIPEDIA: Final = {"als": "gsw", "bh": "bho", "sh": "hbs"}
"""Names of Wikipedias among lid.176's labels that mean another language, or none, in ISO 639."""

RETIRED: Final = {"bh": "bho", "in": "id", "iw": "he", "ji": "yi", "jw": "jv", "mo": "ro", "mol": "ro", "sh": "hbs"}
"""Codes withdrawn from ISO 639 and what took their place."""

_ISO_639_1 = """
aar aa  abk ab  afr af  aka ak  amh am  ara ar  arg an  asm as  ava av  ave ae  aym ay  aze az  bak ba  bam bm
bel be  ben bn  bis bi  bod bo  bos bs  bre br  bul bg  cat ca  ces cs  cha ch  che ce  chu cu  chv cv  cor kw
cos co  cre cr  cym cy  dan da  deu de  div dv  dzo dz  ell el  eng en  epo eo  est et  eus eu  ewe ee  fao fo
fas fa  fij fj  fin fi  fra fr  fry fy  ful ff  gla gd  gle ga  glg gl  glv gv  grn gn  guj gu  hat ht  hau ha
heb he  her hz  hin hi  hmo ho  hrv hr  hun hu  hye hy  ibo ig  ido io  iii ii  iku iu  ile ie  ina ia  ind id
ipk ik  isl is  ita it  jav jv  jpn ja  kal kl  kan kn  kas ks  kat ka  kau kr  kaz kk  khm km  kik ki  kin rw
kir ky  kom kv  kon kg  kor ko  kua kj  kur ku  lao lo  lat la  lav lv  lim li  lin ln  lit lt  ltz lb  lub lu
lug lg  mah mh  mal ml  mar mr  mkd mk  mlg mg  mlt mt  mon mn  mri mi  msa ms  mya my  nau na  nav nv  nbl nr
nde nd  ndo ng  nep ne  nld nl  nno nn  nob nb  nor no  nya ny  oci oc  oji oj  ori or  orm om  oss os  pan pa
pli pi  pol pl  por pt  pus ps  que qu  roh rm  ron ro  run rn  rus ru  sag sg  san sa  sin si  slk sk  slv sl
sme se  smo sm  sna sn  snd sd  som so  sot st  spa es  sqi sq  srd sc  srp sr  ssw ss  sun su  swa sw  swe sv
tah ty  tam ta  tat tt  tel te  tgk tg  tgl tl  tha th  tir ti  ton to  tsn tn  tso ts  tuk tk  tur tr  twi tw
uig ug  ukr uk  urd ur  uzb uz  ven ve  vie vi  vol vo  wln wa  wol wo  xho xh  yid yi  yor yo  zha za  zho zh
zul zu
"""
"""ISO 639-3 and ISO 639-1, the code table of https://iso639-3.sil.org (183 languages)."""

_MACROLANGUAGE = """
als sq  arb ar  ayr ay  azj az  cmn zh  cwd cr  ekk et  esk ik  fat ak  fuc ff  gaz om  gug gn  ike iu  khk mn
kmr ku  knc kr  kng kg  kpv kv  lvs lv  npi ne  ojg oj  ory or  pbu ps  pes fa  plt mg  quz qu  src sc  swh sw
uzn uz  ydd yi  zsm ms  zyb za
"""
"""CLDR's `supplementalMetadata.xml`, languageAlias of reason "macrolanguage", those with an ISO 639-1 code."""


@lru_cache(maxsize=1)
def short_codes() -> dict[str, str]:
    """`{"eng": "en", "arb": "ar", ...}`: every ISO 639-3 code that has another name here."""
    words = (_ISO_639_1 + _MACROLANGUAGE).split()
    return dict(zip(words[::2], words[1::2], strict=True)) | RETIRED


def language_and_script(label: str) -> tuple[str, str]:
    """ISO code and, where the label gives one, ISO 15924 script, else "". "" is undetermined.

    >>> language_and_script("als"), language_and_script("als_Latn"), language_and_script("cmn_Hans")
    (('gsw', ''), ('sq', 'Latn'), ('zh', 'Hans'))

    Raises ConfigError for a label that names no language, such as one of a model for something else.
    """
    if not label:
        return UNDETERMINED, ""
    found = _LABEL.fullmatch(label)
    if not found:
        raise ConfigError(
            f"the model's label {label!r} names no language; expected labels such as 'en', 'ceb' or 'eng_Latn'"
        )
    code, script = found[1], found[2] or ""
    code = code if script else WIKIPEDIA.get(code, code)
    return short_codes().get(code, code), script
