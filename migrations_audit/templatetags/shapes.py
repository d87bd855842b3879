"""The shapes beside the words, 16 by 16, drawn by their outline."""

from __future__ import annotations

from typing import Final

from django.utils.safestring import SafeString, mark_safe

_ROUND = '<circle cx="8" cy="8" r="6.2"/>'
_DRAWN = {
    "check": f'{_ROUND}<path d="m5.2 8.2 2 2 3.7-4.2"/>',
    "cross": f'{_ROUND}<path d="m5.8 5.8 4.4 4.4m0-4.4-4.4 4.4"/>',
    "barred": f'{_ROUND}<path d="M3.8 12.2 12.2 3.8"/>',
    "down": f'{_ROUND}<path d="M8 4.8v6.2M5.4 8.6 8 11.2l2.6-2.6"/>',
    "up": f'{_ROUND}<path d="M8 11.2V5M5.4 7.4 8 4.8l2.6 2.6"/>',
    "clock": f'{_ROUND}<path d="M8 4.6V8l2.4 1.6"/>',
    "question": '<path d="M8 1.6 14.4 8 8 14.4 1.6 8Z"/><path d="M6.5 6.6c0-2 3.1-2 3.1 0 0 1.2-1.6 1.2-1.6 2.5M8 11.2v.1"/>',
    "alert": '<path d="M8 1.9 14.6 13.6H1.4Z"/><path d="M8 6.2v3.4M8 11.6v.1"/>',
    "info": f'{_ROUND}<path d="M8 7.4v3.6M8 4.9v.1"/>',
    "dashed": '<circle cx="8" cy="8" r="6.2" stroke-dasharray="2.4 2.5"/>',
    "fork": '<circle cx="4.2" cy="3.6" r="1.7"/><circle cx="11.8" cy="3.6" r="1.7"/><circle cx="8" cy="12.6" r="1.7"/>'
    '<path d="M4.2 5.3c0 3 3.8 2.4 3.8 5.6M11.8 5.3c0 3-3.8 2.4-3.8 5.6"/>',
    "unplugged": '<path d="M5.4 6.2v-3M10.6 6.2v-3M3.8 6.2h8.4v2a4.2 4.2 0 0 1-8.4 0zM8 12.4v2M2 14 14 2"/>',
    "locked": '<rect x="3" y="7" width="10" height="7" rx="1.4"/><path d="M5 7V5a3 3 0 0 1 6 0v2M8 9.8v1.6"/>',
    "page": '<path d="M3.4 1.8h6l3.2 3.2v9.2H3.4ZM9.2 1.8V5h3.4M6 8l4 4m0-4-4 4"/>',
    "eye": '<path d="M1.4 8S3.8 3.8 8 3.8 14.6 8 14.6 8 12.2 12.2 8 12.2 1.4 8 1.4 8ZM2.4 13.6 13.6 2.4"/>',
    "hourglass": '<path d="M4 1.8h8M4 14.2h8M4.8 1.8v2.6L8 8l3.2-3.6V1.8M4.8 14.2v-2.6L8 8l3.2 3.6v2.6"/>',
    "play": f'{_ROUND}<path d="m6.6 5.4 4 2.6-4 2.6z" fill="currentColor"/>',
    "people": '<circle cx="5.8" cy="5" r="2.4"/><path d="M1.6 13.4c0-5.6 8.4-5.6 8.4 0M10.4 2.9a2.4 2.4 0 0 1 0 4.2'
    'M12 9.6c1.6.6 2.4 2 2.4 3.8"/>',
    "seal": '<path d="m8 1.4 1.9 1.5 2.4-.1.6 2.3 2 1.4-.9 2.2.5 2.4-2.1 1.1-.9 2.2-2.4-.3L8 15l-1.1-.9-2.4.3-.9-2.2-2.1-1.1'
    '.5-2.4-.9-2.2 2-1.4.6-2.3 2.4.1Z"/><path d="m5.6 8 1.7 1.7 3.1-3.4"/>',
    "database": '<ellipse cx="8" cy="3.8" rx="5.4" ry="2.2"/>'
    '<path d="M2.6 3.8v8.4c0 3 10.8 3 10.8 0V3.8M2.6 8c0 3 10.8 3 10.8 0"/>',
    "back": '<path d="M6 3.4 2.4 7 6 10.6M2.8 7h6.4a4 4 0 0 1 0 8H7"/>',
    "rewind": f'{_ROUND}<path d="M8 5.2 4.8 8 8 10.8M11.2 5.2 8 8l3.2 2.8"/>',
    "hole": '<path d="M1.8 2.8h12.4v10.4H1.8ZM1.8 6.2h12.4" stroke-dasharray="3 2"/><path d="m6 8.2 4 3m0-3-4 3"/>',
    "refresh": '<path d="M13.4 7.2A5.6 5.6 0 1 0 12 11.8M13.6 3.4v3.8H9.8"/>',
}

SHAPES: Final[dict[str, SafeString]] = {name: mark_safe(drawn) for name, drawn in _DRAWN.items()}  # noqa: S308  (our own)
