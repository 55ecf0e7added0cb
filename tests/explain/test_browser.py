import browser
from batchproof import explain


def test_every_explanation_fits_a_telephone(tmp_path):
    pages = [topic.explain().to_html() for topic in explain.topics().values()]
    seen = browser.looked_at(pages, tmp_path)
    assert len(seen) == len(pages)
    for page in seen:
        browser.expect_readable(page)
