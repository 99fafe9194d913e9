"""References of snapshots as selectors."""

from functions.browser_worker.domain.aria import selectors_of

SNAPSHOT = """
- generic [active] [ref=e1]:
  - heading "Form" [level=1] [ref=e2]
  - text: Name
  - textbox "Name" [ref=e3]
  - textbox [ref=e4]
  - button "Save \\"all\\"" [ref=e5]
  - button "Go" [ref=e6] [cursor=pointer]
  - button "Go" [ref=e7]
  - link "Home" [ref=e8]:
    - /url: /
  - iframe [ref=e9]:
    - button "Go" [ref=f1e2]
"""


def test_by_role_name_and_place():
    assert selectors_of(SNAPSHOT) == {
        "e2": 'internal:role=heading[name="Form"s] >> nth=0',
        "e3": 'internal:role=textbox[name="Name"s] >> nth=0',
        # Of all text boxes it is the second one.
        "e4": "internal:role=textbox >> nth=1",
        "e5": 'internal:role=button[name="Save \\"all\\""s] >> nth=0',
        "e6": 'internal:role=button[name="Go"s] >> nth=0',
        "e7": 'internal:role=button[name="Go"s] >> nth=1',
        "e8": 'internal:role=link[name="Home"s] >> nth=0',
        "e9": "internal:role=iframe >> nth=0",
    }
