// Keeps "3 min ago" true while a page is open. Without it the page shows the age at which it was made.
(() => {
  "use strict";
  const units = [[86400, "d"], [3600, "h"], [60, "min"]];

  function words(seconds) {
    const size = Math.abs(seconds);
    const unit = units.find(([length]) => size >= length);
    const age = unit ? `${Math.floor(size / unit[0])} ${unit[1]}` : `${size} s`;
    return seconds >= 0 ? `${age} ago` : `in ${age}`;
  }

  function refresh() {
    if (document.hidden) return;
    for (const time of document.querySelectorAll("time[data-ago]")) {
      const text = words(Math.floor((Date.now() - Date.parse(time.dateTime)) / 1000));
      if (time.textContent !== text) time.textContent = text;
    }
  }

  setInterval(refresh, 15000);
})();
