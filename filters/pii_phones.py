"""Phone numbers in text: written in a form that nothing else has, or beside a word that says what they are.

`phone_spans` looks at one run of digits and separators (a DIGITS candidate of `pipelines.kernels.redaction`) and at 56
characters before and 16 after it. A number is found where

- **its form is strong**: `+` and a country code of ITU-T E.164 with 8 to 15 digits; North American `(NNN) NNN-NNNN`,
  `NNN-NNN-NNNN`, `1-NNN-NNN-NNNN`; an area code `(0NN)`; French pairs `0N NN NN NN NN`; `0NN-NNNN-NNNN`; Russian
  `8 (NNN) NNN-NN-NN`; or
- **a word for telephony comes shortly before** (`Tel.`, `call`, `WhatsApp`, `позвоните`, `電話` ... in the 18 languages), or
  right after (`(fax)`), with no word nearer that claims the number for something else (`order`, `card`, `ISBN`); or
- **it continues a list** whose previous entry is a phone number, or a placeholder for one.

Dates, ranges of years, decimals, prices, grouped card numbers and numbers inside URLs are not phone numbers. Digits of
other scripts than ASCII are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_STRONG_WORDS = _words(
    "tel tels telf tlf tlfn tfn tfno tél ph phone phones mob mobile mobil mobiles mobilnummer mobilnr mobiltelefon cellphone cel"
    " fax fx faks fono fone sms whatsapp viber hotline"
    " helpline handy gsm call calls called calling caller dial dialed dialled ruf móvil movil llame llamar llama llámenos ligue"
    " ligar liga bel bellen bellt chiama chiamare chiamaci chiamate appelez appeler appelle volejte ringa zadzwoń dzwoń"
    " sunați sunati portable infolinia fijo anruf anrufen rufen pager voicemail landline switchboard durchwahl"
    " тел моб факс звоните позвоните звонить звонок ватсап телефон телефоны هاتف الهاتف جوال الجوال موبايل الموبايل اتصل فاكس"
    " الفاكس تلفون تليفون واتساب محمول المحمول للاتصال فون موبائل ٹیلیفون کال فیکس واٹس फोन फ़ोन मोबाइल टेलीफोन टेलीफ़ोन कॉल"
    " दूरभाष फैक्स फ़ैक्स व्हाट्सएप τηλ τηλέφωνο κινητό bürgertelefon servicetelefon φαξ puh puhelin telepon điện thoại tf"
)
_STRONG_STEMS = _words(
    "phone telep telef teléf téléph teleph telec téléc mobiel cellul cellph celul smartp rufnu hotlin whats faxnu faxnr"
    " telfo телеф мобил звони позво tollf freep komór vodaf telem телег helpl"
)
_WEAK_WORDS = _words(
    "contact contacts kontakt kontakte contacto contactos contatto contatti contato contatos contactez contactar contactați"
    " contacter reach reached registered answering answer message messages texting texted ringing joindre joignable"
    " recapito recapiti numéro rückruf ansprechpartner recepción reception recepce rezeption kundenservice"
    " контакт контакты رابطہ संपर्क kom linka tlfnr växel kundtjänst assistenza atendimento atención enquiries inquiries"
    " reservations reservation booking bookings"
)
_NEUTRAL_WORDS = _words(
    "number numbers no nos nr num número numéro numero nummer номер رقم نمبر नंबर numer číslo numărul telefonnummer n is are was at"
    " on to the a an us me him her them our my your his their or and for und oder et ou y o e i и или"
)
_OTHER_WORDS = _words(
    "card cards visa mastercard amex credit debit account accounts acct order orders invoice zip zipcode postcode postal ssn social"
    " security iban isbn issn license licence licences driver drivers driving passport policy code codes ref reference tracking"
    " serial model part sku version ver closes bug bugs issue issues page pages pp vol year years born date dated since until"
    " population vat vin imei pid uid gid doi patent rfc cve asin ean upc barcode kg km konto kontonummer blz bic swift siret siren"
    " hrb hra zvr zahl ust nip regon krs pesel rechnung plz artikel artikelnummer cnpj cpf nif cif dni rut ico ič dič инн огрн"
    " кпп бик индекс счет conto partita iva commit revision rev timestamp port room suite apt id ids user users member lot batch"
    " case docket ticket votes copyright founded established est © pmid arxiv oclc lccn isrc hs gtin mpn ein tin fein ndc duns"
    " parcel permit flight size price cost total sum balance amount salary views downloads results"
)
_UNSPACED_STRONG = re.compile(
    r"电话|電話|手机|手機|传真|傳真|热线|熱線|致电|致電|拨打|撥打|来电|联系方式|聯絡|座机|固话|專線|专线|携帯|ファックス|ファクス|フリーダイヤル|"
    r"お問い合わせ|お問合せ|連絡先|전화|휴대폰|핸드폰|팩스|연락처|문의|대표번호|콜센터|โทร|☎|☏|✆|📞|📱|📲|📠"
)
_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|[\u0900-\u0dff'’])*|[#№$€£¥₹%©☎☏✆📞📱📲📠🖷]")
_MONEY = frozenset("$€£¥₹%#№")
BEFORE, AFTER = 56, 16

# E.164 country codes, ITU Operational Bulletin
_COUNTRY = (
    r"(?:1|7|2[07]|3[0123469]|4[013456789]|5[12345678]|6[0123456]|8[1246]|9[0123458]"
    r"|2[1234569]\d|3[578]\d|42\d|5[09]\d|6[789]\d|8[0578]\d|9[679]\d)"
)
_GAP = r"[ .\-/()\u00a0\u2000-\u200a\u2010-\u2015\u202f]"
_INTERNATIONAL = re.compile(rf"\+{_GAP}?{_COUNTRY}(?:{_GAP}{{0,3}}\d){{5,13}}")
_NATIONAL = re.compile(
    r"(?:\+?1[ .-]?)?\([2-9]\d\d\)[ \u00a0]?[.-]?[ \u00a0]?\d{3}[ .\u00a0\u2010-\u2013-]\d{4}"  # (201) 555-0123
    r"|(?:1[-. ])?[2-9]\d\d([-.\u2010-\u2013])[2-9]\d\d\1\d{4}"  # 201-555-0123
    r"|1[ -]8\d\d[ -][2-9]\d\d[ -]\d{4}"
    r"|\(0\d{1,4}\)[ \u00a0/-]{0,3}\d{2,5}(?:[ \u00a0-]\d{2,5}){0,3}"  # (030) 123 45 67
    r"|0[1-9]([ .\u00a0-])\d\d(?:\2\d\d){3}"  # 01 23 45 67 89
    r"|0\d{1,3}-\d{2,4}-\d{4}"  # 03-1234-5678
    r"|8[ -]?\([3489]\d{2,4}\)[ -]?\d{1,3}-?\d\d-?\d\d"  # 8 (495) 123-45-67
    r"|[2-9]\d\d/[2-9]\d\d-\d{4}"
    r"|0[89]00(?:[ \u00a0/-]{1,3}\d{2,4}){2,4}"  # 0800 58 88 642
)
_YEARS = re.compile(r"(?:1[5-9]|20)\d\d(?:\s?[-/\u2010-\u2015]\s?(?:1[5-9]|20)?\d\d)?")
_DATE = re.compile(
    r"(?:19|20)\d\d([-./ ])[01]?\d\1[0-3]?\d(?:[ -]\d{1,2})?|[0-3]?\d([-./])[0-3]?\d\2(?:19|20)?\d\d(?:[ -]{1,3}\d{1,2})?"
    r"|(?:19|20)\d\d[01]\d[0-3]\d(?:\d{4,6})?|(?:19|20)\d\d[-/][01]\d"
)
_QUAD = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_TIMES = re.compile(r"[0-2]?\d[.][0-5]\d ?[-/\u2010-\u2015 ] ?[0-2]?\d[.][0-5]\d")
_THOUSANDS = re.compile(r"\d{1,3}(?:\.\d{3})+")
_RANGE = re.compile(r"(\d{2,5})[-\u2010-\u2015](\d{2,5})")
_NUMBERED = re.compile(r"\d{1,2}\.\d{1,2}\.\d+(?: \d+)*|\d{1,2}(?:\.\d{1,2}){1,3}-\d+")  # a version, a section
_CARD = re.compile(r"\d{4}([ -])\d{4}\1\d{4}\1\d{2,4}|\d{13,19}")
_SOCIAL = re.compile(r"\d{3}-\d{2}-\d{4}|\d{5}-\d{4}")
_DECIMAL = re.compile(r"\d{1,4}\.\d+|\d+\.\d\d?|\d{1,3}(?:[ .\u00a0\u202f]000)+")
_BREAK = re.compile(r" / | - | – | {2,}|/|\) (?=\()")
_URL = re.compile(r"://|www\.|\.[a-z]{2,6}/|[\w-]/[\w-]*\Z|[?&]\w*=\Z", re.IGNORECASE)
_PHONE_URL = re.compile(r"(?:tel|sms|callto|whatsapp|phone|fax)[:=][\s/]{0,2}\Z|wa\.me/\Z", re.IGNORECASE)
_LINK = re.compile(r"(?:tel|callto|sms|fax):\s?/{0,2}\Z", re.IGNORECASE)
_AFTER_WORD = re.compile(
    r"\s?[(\[]\s?(?:tel|phone|telephone|fax|faks|mobile|mob|cell|office|home|work|mobil|handy|toll[- ]free|hotline"
    r"|факс|моб|тел)\b"
    r"|\s?(?:ext|x|extension)\b\.?\s?\d{1,5}|,?\s(?:ext|extension)\b\.?\s?\d"
    r"|[ \t]{1,3}(?:office|fax|mobile|cell|direct|phone|tel|telefon|telefax|mobil|tél|móvil|celular)[ \t]*(?:[\n,;|)]|\Z)",
    re.IGNORECASE,
)
_LETTER = re.compile(r"(?:^|[\n|•·,;])[ \t\u00a0]*[TFM]:?[ \t\u00a0]\Z")  # "T: 030 ...", "F 030 ..." of letterheads
_LIST = re.compile(
    r"[\s,;/|&+-]{0,3}(?:(?:or|and|to|und|oder|et|ou|y|o|e|i|или|и|fax|mobile)\b\.?:?)?[\s,;/|&(-]{0,3}\Z",
    re.IGNORECASE,
)
_PLACEHOLDER_TAIL = re.compile(r">>PHONE_NUMBER<<(?P<joint>[^\d<>]{0,12})\Z")


def phone_spans(text: str, start: int, stop: int, previous: int) -> Iterator[tuple[int, int]]:
    """Phone numbers within the run `text[start:stop]`; `previous` is where the last one found in this text ended, or -1.

    >>> list(phone_spans("Tel. 030 1234567", 5, 16, -1))
    [(5, 16)]
    """
    while start < stop:
        found = _first(text, start, stop, previous)
        if found is None:
            return
        yield found
        previous = start = found[1]
        while start < stop and not (text[start].isdigit() or text[start] in "(+"):
            start += 1


def _first(text: str, start: int, stop: int, previous: int) -> tuple[int, int] | None:
    before = text[max(0, start - BEFORE) : start]
    token = before.rsplit(None, 1)[-1] if before and not before[-1].isspace() else ""
    linked = bool(token) and _PHONE_URL.search(token) is not None
    if token and not linked and _URL.search(token):
        return None
    end = _leading_number(text, start, stop)
    possible = end is not None and _may_be_phone(text, start, end, adjacent=True)  # context is dearer to look at
    if end is not None and possible and (linked or _in_context(text, before, start, previous)):
        adjacent = linked or _adjacent(before)
        if adjacent or _may_be_phone(text, start, end, adjacent=False):
            lone = text[start] == "(" and ")" not in text[start:end]
            return start + lone, end
    strong = _strong(text, start, stop)
    if strong is not None:
        return strong
    if end is None or not possible or not _AFTER_WORD.match(text, end, end + AFTER):
        return None
    return (start, end) if _may_be_phone(text, start, end, adjacent=False) else None


def _strong(text: str, start: int, stop: int) -> tuple[int, int] | None:
    for pattern in (_INTERNATIONAL, _NATIONAL):
        for match in pattern.finditer(text, start, stop):
            first, last = match.span()
            if first and text[first - 1] == "(" and text.count(")", first, last) > text.count("(", first, last):
                first -= 1  # "(+48) 600 033 044"
            elif first and text[first - 1] == "(" and text[last : last + 1] == ")" and "(" not in text[first:last]:
                first, last = first - 1, last + 1
            if text[first] == "(" and text.count("(", first, last) > text.count(")", first, last):
                first += 1
            num_digits = sum(c.isdigit() for c in text[first:last])
            if pattern is _INTERNATIONAL:
                if last < stop and text[last : last + 1].isdigit():  # longer than E.164 allows
                    continue
                if num_digits < 9 and num_digits == last - first - 1:  # "+12345678" may be a sum
                    continue
            elif text[first] == "0" and (num_digits < 9 or _SOCIAL.fullmatch(text, first, last)):
                continue
            if _free(text, first, last):
                return first, last
    return None


def _free(text: str, first: int, last: int) -> bool:
    """Whether `text[first:last]` stands by itself: no word, amount or longer number runs into it."""
    before, after = text[first - 1 : first] if first else "", text[last : last + 2]
    if text[first] == "+" and before.isascii() and before and not (before.isspace() or before in "([{\"'<>:,;|/*"):
        return False
    if before and (
        before.isalnum() or before in "_$€£¥₹#№.,=&?^\\" or (before in "-/+:" and _runs_on(text, first - 2, before))
    ):
        if not (before in ".,=" and not text[max(0, first - 2)].isdigit()) and not _unspaced(before):
            return False
        if before in "=&?":
            return False
    head = after[:1]
    if head and (head.isalnum() or head in "_%€$£@+~") and not _unspaced(head):
        return head in "xX" and after[1:].isdigit()  # an extension
    return not (head in ("-", ".", "/", ",", ":") and after[1:].isdigit())


def _runs_on(text: str, at: int, joint: str) -> bool:
    """Whether `text[at]` before a joint makes one word of what follows: `a-123`, `12:30`, but not `Tel:123`."""
    char = text[at] if at >= 0 else ""
    return char.isdigit() or char == ")" if joint == ":" else char.isalnum() or char == "_"


def _unspaced(char: str) -> bool:
    """Letters of scripts written without spaces, and of Hangul, whose particles follow numbers directly."""
    return "\u0e00" <= char <= "\u0eff" or "\u3040" <= char <= "\u9fff" or "\uac00" <= char <= "\ud7af"


def _leading_number(text: str, start: int, stop: int) -> int | None:
    """End of the number that begins at `start`: the whole run, or its first entries where the run is too long for one."""
    run = text[start:stop]
    num_digits = sum(c.isdigit() for c in run)
    for joint in _BREAK.finditer(run):
        head = sum(c.isdigit() for c in run[: joint.start()])
        if (
            head >= 7
            and num_digits - head >= 5
            and (num_digits > 15 or (num_digits - head >= 7 and joint.group() != "/"))
        ):
            return start + joint.start()
    if num_digits <= 15:
        return stop
    total, last = 0, None
    for group in re.finditer(r"\d+", run):
        total += len(group.group())
        if total > 12:
            break
        last = start + group.end()
    return last if last is not None and total > 12 and sum(c.isdigit() for c in text[start:last]) >= 7 else None


def _may_be_phone(text: str, start: int, end: int, *, adjacent: bool) -> bool:
    written = text[start:end].strip("() ")
    num_digits = sum(c.isdigit() for c in written)
    if not (6 if not adjacent else 5) <= num_digits <= 15 or not _free(text, start, end):
        return False
    if _QUAD.fullmatch(written) and not (
        adjacent and len(written) == 11
    ):  # an IP address that is not public, a version
        return False
    if _YEARS.fullmatch(written) or _DATE.fullmatch(written) or _TIMES.fullmatch(written):
        return False
    if text[end : end + 2].strip().startswith("%") or (num_digits <= 6 and _THOUSANDS.fullmatch(written)):
        return False
    if adjacent:
        return True
    if (
        _NUMBERED.fullmatch(written)
        or _CARD.fullmatch(written)
        or _SOCIAL.fullmatch(written)
        or _DECIMAL.fullmatch(written)
    ):
        return False
    if "  " in written or (written.count(".") > 1 and " " in written):  # columns of a table
        return False
    ends = _RANGE.fullmatch(written)
    if ends and len(ends.group(1)) == len(ends.group(2)) and 0 < int(ends.group(2)) - int(ends.group(1)) < 500:
        return False
    groups = re.findall(r"\d+", written)
    return num_digits >= 7 or len(groups) >= 2


def _adjacent(before: str) -> bool:
    """Whether the last word before the number is itself a word for a telephone: `Tel.: `, `Fax `."""
    words = _WORD.findall(before[-24:])
    while words and words[-1].lower() in ("number", "no", "nr", "is", "n", "номер", "nummer", "numero", "número"):
        words.pop()
    return (
        bool(words)
        and _kind(words[-1]) == 2
        and words[-1].lower() not in ("call", "calls", "called", "calling", "ring")
    )


def _in_context(text: str, before: str, start: int, previous: int) -> bool:
    if _LINK.search(before) or (text[start] in "0(" and _LETTER.search(before)):
        return True
    if 0 <= previous <= start and start - previous <= 14 and _LIST.fullmatch(text, previous, start):
        return True
    tail = _PLACEHOLDER_TAIL.search(before)
    if tail:
        return _LIST.fullmatch(tail.group("joint")) is not None
    if any(len(before) - unspaced.end() <= 16 for unspaced in _UNSPACED_STRONG.finditer(before)):
        return True
    words = list(_WORD.finditer(before))
    if words and words[0].start() == 0 and start > BEFORE and text[start - BEFORE - 1].isalnum():
        words.pop(0)  # the window cuts this word
    saw_number_of = others = False  # others: words of no account on the number's own line
    for back, word in enumerate(reversed(words)):
        kind, lower = _kind(word.group()), word.group().lower()
        if kind == -1:
            return False
        near = (lower in ("cell", "ring") and back < 3) or (lower in ("text", "txt") and not back)
        if kind == 2 or (kind == 1 and back < 6) or near:
            between = before[word.end() :]
            return ";" not in between and not (others and "\n" in between)
        others = others or (lower not in _NEUTRAL_WORDS and "\n" not in before[word.end() :])
        if (
            word.group().lower() in ("my", "your", "his", "her", "our", "their", "mon", "meine", "mi", "mein")
            and saw_number_of
        ):
            return True
        saw_number_of = saw_number_of or word.group().lower() in (
            "number",
            "numbers",
            "numéro",
            "nummer",
            "número",
            "numero",
        )
        gap = before[word.end() : words[len(words) - back].start()] if back else before[word.end() :]
        if back > 8 or "\n\n\n" in gap:
            return False
    return False


def _kind(word: str) -> int:
    """2: telephony; 1: getting in touch; -1: claims numbers for something else; 0: anything else."""
    lower = word.lower().strip("'’")
    if lower in _STRONG_WORDS or (len(lower) >= 5 and (lower[:5] in _STRONG_STEMS or lower[:6] in _STRONG_STEMS)):
        return 2
    if lower in _OTHER_WORDS or lower in _MONEY:
        return -1
    if lower in _WEAK_WORDS:
        return 1
    if lower in ("☎", "☏", "✆", "📞", "📱", "📲", "📠"):
        return 2
    return 2 if lower.endswith(("telefon", "telephone", "telefone", "telefoon")) else 0
