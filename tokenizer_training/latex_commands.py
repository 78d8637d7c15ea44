r"""LaTeX commands that are one token each, in order; the most used groups first, so a prefix of the list is sensible.

They are entries of the vocabulary, not added tokens: an added token `\in` would cut `\input` into `\in` and `put`,
while the pre-token `\\[A-Za-z]+` (split_patterns.py) is looked up whole, and `\int`, `\infty`, `\input` stay apart.
A command is a backslash and ASCII letters, as TeX reads it: what follows (a star, an argument, the `{align}` of
`\begin{align}`) is text of its own, and a second backslash before it changes nothing, so that `\\frac` of a doubly
escaped source holds the token too. Control symbols (`\,` `\{` `\\`) are two tokens where punctuation is split.
"""

from __future__ import annotations

_COMMANDS = """
    frac dfrac tfrac cfrac sqrt binom sum prod int oint iint iiint lim limsup liminf sup inf max min argmax
    argmin log ln lg exp sin cos tan cot sec csc sinh cosh tanh coth arcsin arccos arctan det dim ker deg gcd Pr
    hom arg mod bmod pmod left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr limits
    nolimits over under overline underline overbrace underbrace overset underset stackrel substack operatorname
    text mbox displaystyle textstyle scriptstyle scriptscriptstyle begin end label ref eqref tag nonumber notag
    quad qquad dbinom tbinom choose iiiint oiint idotsint injlim projlim varinjlim varprojlim sideset Tr tr Hom Ext
    Ker colim smash strut mathstrut

    alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa varkappa lambda mu nu xi pi
    varpi rho varrho sigma varsigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma
    Upsilon Phi Psi Omega digamma

    in notin ni le leq leqslant ge geq geqslant ne neq equiv approx sim simeq cong propto ll gg prec succ preceq
    succeq subset supset subseteq supseteq subsetneq supsetneq nsubseteq sqsubseteq sqsupseteq mid nmid parallel
    nparallel perp asymp doteq models vdash dashv Vdash vDash bowtie smile frown lesssim gtrsim lessgtr
    triangleq coloneqq not nless ngtr nleq ngeq ncong leqq geqq lneq
    gneq precsim succsim trianglelefteq trianglerighteq vartriangleleft subseteqq nsupseteq lesseqgtr approxeq nsim owns
    colon vcentcolon eqqcolon

    cdot cdots times div pm mp ast star circ bullet oplus ominus otimes oslash odot cap cup sqcap sqcup uplus
    wedge vee land lor lnot neg setminus smallsetminus wr amalg dagger ddagger bigcap bigcup bigsqcup bigvee
    bigwedge bigodot bigotimes bigoplus biguplus coprod ltimes rtimes boxplus boxtimes barwedge boxminus
    divideontimes dotplus intercal bigtriangleup bigtriangledown triangleleft triangleright Cap Cup bigcirc

    to gets rightarrow leftarrow Rightarrow Leftarrow leftrightarrow Leftrightarrow longrightarrow longleftarrow
    Longrightarrow Longleftarrow longleftrightarrow Longleftrightarrow implies impliedby iff mapsto longmapsto
    uparrow downarrow Uparrow Downarrow updownarrow nearrow searrow swarrow nwarrow hookrightarrow hookleftarrow
    rightharpoonup rightharpoondown leftharpoonup rightleftharpoons rightsquigarrow twoheadrightarrow leadsto
    xrightarrow xleftarrow upharpoonright upharpoonleft leftrightharpoons rightrightarrows leftleftarrows rightleftarrows
    nrightarrow nleftarrow nRightarrow nLeftrightarrow curvearrowright curvearrowleft circlearrowleft circlearrowright
    dashrightarrow rightarrowtail xhookrightarrow xmapsto Updownarrow restriction

    infty partial nabla forall exists nexists emptyset varnothing hbar hslash ell Re Im aleph beth wp angle
    measuredangle triangle square Box Diamond diamond blacksquare clubsuit heartsuit spadesuit diamondsuit flat
    natural sharp top bot prime backprime dots ldots vdots ddots dotsc dotsb surd therefore because checkmark
    imath jmath complement degree S P copyright pounds dag ddag
    dotsm dotsi dotso bigstar lozenge blacktriangle triangledown eth gimel daleth sphericalangle textdegree

    langle rangle lfloor rfloor lceil rceil lvert rvert lVert rVert vert Vert lbrace rbrace lbrack rbrack
    backslash ulcorner urcorner

    hat widehat bar tilde widetilde vec dot ddot dddot acute grave breve check mathring overrightarrow
    overleftarrow overleftrightarrow underleftarrow underrightarrow widecheck c v u H k r b d i j l L o O ss ae AE oe OE
    aa AA

    mathbb mathbf mathcal mathfrak mathit mathrm mathscr mathsf mathtt boldsymbol bm pmb textbf textit textrm
    textsf texttt textsc textup textnormal emph bf it rm sc sf tt cal em mathop mathbin mathrel mathord mathopen
    mathclose mathpunct rmfamily sffamily ttfamily bfseries itshape scshape tiny scriptsize footnotesize small
    normalsize large Large LARGE huge Huge
    mathds mathnormal symbf symcal textmd textsl upshape slshape mdseries selectfont fontsize bold

    documentclass usepackage newcommand renewcommand providecommand newenvironment newtheorem theoremstyle def
    let DeclareMathOperator title author date maketitle abstract tableofcontents part chapter section subsection
    subsubsection paragraph subparagraph appendix item itemize caption centering includegraphics input include
    cite citep citet bibitem bibliography bibliographystyle footnote footnotemark href url hline cline toprule
    midrule bottomrule multicolumn multirow vspace hspace vfill hfill newline newpage clearpage pagebreak
    linebreak noindent indent par smallskip medskip bigskip phantom hphantom vphantom raisebox makebox fbox
    parbox boxed cancel color textcolor colorbox hyperref pageref autoref cref Cref nocite protect relax
    expandafter csname endcsname setlength setcounter addtocounter arabic roman Roman alph Alph textwidth
    linewidth columnwidth textheight baselineskip parindent parskip qed qedhere proof mathchoice allowbreak
    nobreak thanks today LaTeX TeX ensuremath xspace intertext shortintertext allowdisplaybreaks numberwithin
    draw node path fill tikz subcaption filldraw
    coordinate foreach clip usetikzlibrary tikzset xymatrix ar cancelto bcancel xcancel verb lstset SI si num unit ce
    kern hskip vskip hss hfil vfil hrule vrule rule hrulefill dotfill vcenter hbox vbox rlap llap strutbox
    newcounter stepcounter refstepcounter value newlength addtolength theequation thesection thepage pagestyle
    thispagestyle pagenumbering listoffigures listoftables footnotetext marginpar graphicspath captionsetup subfloat
    cmidrule addlinespace rowcolor cellcolor makeatletter makeatother RequirePackage DeclareRobustCommand
    AtBeginDocument newif else fi edef gdef xdef global long string noexpand the textsuperscript textsubscript
    textbackslash textasciitilde texorpdfstring phantomsection addcontentsline eqno qedsymbol
"""
"""In this order: formulas, Greek, relations, operators, arrows, symbols, delimiters, accents, fonts, documents."""


def latex_commands() -> tuple[str, ...]:
    r"""Every command with its backslash, each once: `(r"\frac", r"\dfrac", ...)`."""
    return tuple("\\" + name for name in _COMMANDS.split())
