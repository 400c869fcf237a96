"""Writing the page and its pictures beside report.md."""

from pathlib import Path

from etdnn.files import write_text
from etdnn.report.collect import Report
from etdnn.report.details import read_details
from etdnn.report.drawing import can_draw
from etdnn.report.html import render_page

NO_PICTURES = "no pictures: they need matplotlib; pip install 'etdnn[plots]' brings it"


def write_page(report: Report, data: str | Path, folder: str | Path, *, date: str, published: bool = False) -> Path:
    """Write FOLDER/report.html and FOLDER/pictures/*.{svg,png}; return the page's path.

    Without matplotlib the page has tables only, and a line says which extra brings the pictures. Same files and same
    `date`, same bytes.
    """
    folder = Path(folder)
    pictures, note = {}, ""
    if can_draw():
        from etdnn.report.pictures import draw_all, write_pictures

        pictures = draw_all(report, Path(data), published=published)
        write_pictures(folder / "pictures", pictures)
    else:
        note = NO_PICTURES
        print(f"report: {note}")
    path = folder / "report.html"
    write_text(path, render_page(report, read_details(report), pictures, date=date, note=note))
    return path
