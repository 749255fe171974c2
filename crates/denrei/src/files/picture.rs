//! How large a picture is, and its thumbnail. What decodes is handed what anybody may have made: it runs on a thread of
//! its own, one at a time, with a bound of pixels and memory, and a picture that it does not like is only a file.

use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use tokio::sync::Semaphore;

/// What was found out about a picture.
#[derive(Debug, Default)]
pub(super) struct Picture {
    /// As it is seen, width and height.
    pub(super) size: Option<(u32, u32)>,
    pub(super) thumbnail: Option<Thumbnail>,
}

#[derive(Debug)]
pub(super) struct Thumbnail {
    pub(super) kind: &'static str,
    pub(super) bytes: Bytes,
}

/// Looks at pictures, one at a time.
#[derive(Debug)]
pub(super) struct Studio {
    place: Arc<Semaphore>,
    pixels: u64,
    side: u32,
}

/// Decoders of JPEG hold the whole file.
const BYTES: u64 = 64 << 20;

impl Studio {
    pub(super) fn new(pixels: u64, side: u32) -> Self {
        Self { place: Arc::new(Semaphore::new(1)), pixels, side }
    }

    /// Looks at a picture in a file, which stays there until this is done. What is too large has no thumbnail.
    pub(super) async fn look(&self, path: &Path, kind: &str, bytes: u64) -> Picture {
        let format = match kind {
            "image/png" => ImageFormat::Png,
            "image/jpeg" => ImageFormat::Jpeg,
            "image/gif" => ImageFormat::Gif,
            "image/webp" => ImageFormat::WebP,
            _ => return Picture::default(),
        };
        if bytes > BYTES {
            return Picture::default();
        }
        let Ok(place) = Arc::clone(&self.place).acquire_owned().await else { return Picture::default() };
        let (path, pixels, side) = (path.to_owned(), self.pixels, self.side);
        let looked = tokio::task::spawn_blocking(move || {
            let _place = place;
            look(&path, format, pixels, side)
        });
        // A decoder that has panicked is the decoder's; the file is a file.
        looked.await.unwrap_or_default()
    }
}

fn look(path: &Path, format: ImageFormat, pixels: u64, side: u32) -> Picture {
    let mut picture = Picture::default();
    if let Err(error) = fill(&mut picture, path, format, pixels, side) {
        tracing::debug!(%error, "a picture could not be read to its end");
    }
    picture
}

fn fill(picture: &mut Picture, path: &Path, format: ImageFormat, pixels: u64, side: u32) -> image::ImageResult<()> {
    let mut reader = ImageReader::with_format(BufReader::new(File::open(path)?), format);
    let mut limits = Limits::default();
    // Four bytes of each pixel, twice: what is decoded, and what decodes.
    limits.max_alloc = Some(pixels.saturating_mul(8).saturating_add(BYTES));
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    let turned = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let lies = matches!(
        turned,
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
    );
    picture.size = Some(if lies { (height, width) } else { (width, height) });
    let small = width <= side && height <= side;
    if side == 0 || small || u64::from(width) * u64::from(height) > pixels {
        return Ok(());
    }
    let mut thumbnail = DynamicImage::from_decoder(decoder)?.thumbnail(side, side);
    thumbnail.apply_orientation(turned);
    let mut bytes = Cursor::new(Vec::new());
    let kind = if thumbnail.color().has_alpha() {
        thumbnail.to_rgba8().write_to(&mut bytes, ImageFormat::Png)?;
        "image/png"
    } else {
        thumbnail.to_rgb8().write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 80))?;
        "image/jpeg"
    };
    picture.thumbnail = Some(Thumbnail { kind, bytes: bytes.into_inner().into() });
    Ok(())
}

#[cfg(test)]
mod tests;
