// Formulas between the marks that pymdownx.arithmatex leaves (mkdocs-material's manual, "Math").
window.MathJax = {
  tex: { inlineMath: [["\\(", "\\)"]], displayMath: [["\\[", "\\]"]] },
  options: { ignoreHtmlClass: ".*|", processHtmlClass: "arithmatex" },
};
