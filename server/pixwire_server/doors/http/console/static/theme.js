// Dark or light, before anything is drawn. No module: modules run when the page has been drawn once.
(() => {
  try {
    const theme = localStorage.getItem("pixwire.theme");
    if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  } catch {
    // storage is switched off: the system's choice holds
  }
})();
