//! Text in columns, as Go's `text/tabwriter` lays it out for Docker: cells end with a tab, a column is as wide as its
//! widest cell and three spaces, and what follows the last tab of a line is no cell.

/// How wide a column is at least.
const NARROWEST: usize = 10;
const GAP: usize = 3;

/// Lays out lines whose cells end with tabs, with columns of at least ten letters.
pub(crate) fn align(text: &str) -> String {
    align_to(text, NARROWEST)
}

/// The same with another least width.
pub(crate) fn align_to(text: &str, narrowest: usize) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|line| vec![0; line.len() - 1]).collect();
    let columns = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let mut first = 0;
        while first < lines.len() {
            let block = widths[first..].iter().take_while(|line| column < line.len()).count();
            let cells = lines[first..first + block].iter().map(|line| line[column].chars().count() + GAP);
            let width = cells.max().unwrap_or(0).max(narrowest);
            widths[first..first + block].iter_mut().for_each(|line| line[column] = width);
            first += block.max(1);
        }
    }
    let laid_out = lines.iter().zip(&widths).map(|(cells, widths)| {
        let padded = cells.iter().zip(widths.iter().copied().chain([0]));
        padded.map(|(cell, width)| format!("{cell:width$}")).collect::<String>()
    });
    laid_out.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As Docker's client 28.2 prints it.
    #[test]
    fn columns_are_as_wide_as_dockers() {
        assert_eq!(align("DRIVER\tVOLUME NAME\nlocal\tdata"), "DRIVER    VOLUME NAME\nlocal     data");
        assert_eq!(
            align("CONTAINER ID\tNAMES\tSTATE\nabababababab\tweb\trunning"),
            "CONTAINER ID   NAMES     STATE\nabababababab   web       running"
        );
        assert_eq!(align("a\tb\nno cells\nlonger than ten\tc"), "a         b\nno cells\nlonger than ten   c");
        assert_eq!(align("…\t1\nabcdefgh\t2"), "…          1\nabcdefgh   2");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-zé\t\n]{0,60}") {
            let laid_out = align(&text);
            prop_assert_eq!(laid_out.lines().count(), text.replace('\t', " ").lines().count());
        }
    }
}
