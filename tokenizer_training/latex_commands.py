r"""LaTeX commands that are one token each, in order; the most used groups first, so a prefix of the list is sensible.

They are entries of the vocabulary, not added tokens: an added token `\in` would cut `\input` into `\in` and `put`,
while the pre-token `\\[A-Za-z]+` (split_patterns.py) is looked up whole, and `\int`, `\infty`, `\input` stay apart.
"""

from __future__ import annotations

_COMMANDS = """
    frac dfrac tfrac cfrac sqrt binom sum prod int oint iint iiint lim limsup liminf sup inf max min argmax
    argmin log ln lg exp sin cos tan cot sec csc sinh cosh tanh coth arcsin arccos arctan det dim ker deg gcd Pr
    hom arg mod bmod pmod left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr limits
    nolimits over under overline underline overbrace underbrace overset underset stackrel substack operatorname
    text mbox displaystyle textstyle scriptstyle scriptscriptstyle begin end label ref eqref tag nonumber notag
    quad qquad

    alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa varkappa lambda mu nu xi pi
    varpi rho varrho sigma varsigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma
    Upsilon Phi Psi Omega digamma

    in notin ni le leq leqslant ge geq geqslant ne neq equiv approx sim simeq cong propto ll gg prec succ preceq
    succeq subset supset subseteq supseteq subsetneq supsetneq nsubseteq sqsubseteq sqsupseteq mid nmid parallel
    nparallel perp asymp doteq models vdash dashv Vdash vDash bowtie smile frown lesssim gtrsim lessgtr
    triangleq coloneqq not nless ngtr nleq ngeq ncong

    cdot cdots times div pm mp ast star circ bullet oplus ominus otimes oslash odot cap cup sqcap sqcup uplus
    wedge vee land lor lnot neg setminus smallsetminus wr amalg dagger ddagger bigcap bigcup bigsqcup bigvee
    bigwedge bigodot bigotimes bigoplus biguplus coprod ltimes rtimes boxplus boxtimes barwedge

    to gets rightarrow leftarrow Rightarrow Leftarrow leftrightarrow Leftrightarrow longrightarrow longleftarrow
    Longrightarrow Longleftarrow longleftrightarrow Longleftrightarrow implies impliedby iff mapsto longmapsto
    uparrow downarrow Uparrow Downarrow updownarrow nearrow searrow swarrow nwarrow hookrightarrow hookleftarrow
    rightharpoonup rightharpoondown leftharpoonup rightleftharpoons rightsquigarrow twoheadrightarrow leadsto
    xrightarrow xleftarrow upharpoonright

    infty partial nabla forall exists nexists emptyset varnothing hbar hslash ell Re Im aleph beth wp angle
    measuredangle triangle square Box Diamond diamond blacksquare clubsuit heartsuit spadesuit diamondsuit flat
    natural sharp top bot prime backprime dots ldots vdots ddots dotsc dotsb surd therefore because checkmark
    imath jmath complement degree S P copyright pounds dag ddag

    langle rangle lfloor rfloor lceil rceil lvert rvert lVert rVert vert Vert lbrace rbrace lbrack rbrack
    backslash ulcorner urcorner

    hat widehat bar tilde widetilde vec dot ddot dddot acute grave breve check mathring overrightarrow
    overleftarrow

    mathbb mathbf mathcal mathfrak mathit mathrm mathscr mathsf mathtt boldsymbol bm pmb textbf textit textrm
    textsf texttt textsc textup textnormal emph bf it rm sc sf tt cal em mathop mathbin mathrel mathord mathopen
    mathclose mathpunct rmfamily sffamily ttfamily bfseries itshape scshape tiny scriptsize footnotesize small
    normalsize large Large LARGE huge Huge

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
    draw node path fill tikz subcaption
"""
"""In this order: formulas, Greek, relations, operators, arrows, symbols, delimiters, accents, fonts, documents."""


def latex_commands() -> tuple[str, ...]:
    r"""Every command with its backslash, each once: `(r"\frac", r"\dfrac", ...)`."""
    return tuple("\\" + name for name in _COMMANDS.split())
