package ingest

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// This file looks at the pages of Parquet before the library does, which makes as much room as a page says that it has, and as a compressed page
// turns out to have.

const (
	// maxPageBytes is how large a page may be, decompressed: 256 MiB. Writers make them of 1 MiB most often.
	maxPageBytes = 256 << 20
	// maxPageValues is how many values a page may have.
	maxPageValues = 16 << 20
	// maxHeaderBytes is how long the header of a page may be, with the smallest and largest value.
	maxHeaderBytes = 256 << 10
)

// checkChunk looks at all pages of a column of a row group.
func checkChunk(f io.ReaderAt, size int64, c *format.ColumnMetaData) error {
	from := c.DataPageOffset
	if c.DictionaryPageOffset > 0 && c.DictionaryPageOffset < from {
		from = c.DictionaryPageOffset
	}
	end := from + c.TotalCompressedSize
	if from < 0 || c.TotalCompressedSize < 0 || end < from || end > size {
		return fmt.Errorf("a column is said to be at bytes %d to %d of %d", from, end, size)
	}
	var protocol thrift.CompactProtocol
	buffer := make([]byte, 4<<10)
	for from < end {
		var header format.PageHeader
		var length int64
		for {
			n, err := f.ReadAt(buffer[:min(int64(len(buffer)), end-from)], from)
			if err != nil && err != io.EOF {
				return err
			}
			header = format.PageHeader{}
			r := protocol.NewReaderFromBytes(buffer[:n])
			if err = thrift.NewDecoder(r).Decode(&header); err == nil {
				length = int64(r.BytesRead())
				break
			}
			if len(buffer) >= maxHeaderBytes || int64(n) == end-from {
				return fmt.Errorf("the header of a page at byte %d: %w", from, err)
			}
			buffer = make([]byte, 4*len(buffer))
		}
		from += length
		page := int64(header.CompressedPageSize)
		if length <= 0 || page < 0 || page > end-from {
			return fmt.Errorf("a page at byte %d is said to have %d bytes; %d are left of its column", from, page, end-from)
		}
		if err := checkPage(io.NewSectionReader(f, from, page), &header, c.Codec); err != nil {
			return fmt.Errorf("a page at byte %d: %w", from, err)
		}
		from += page
	}
	return nil
}

// checkPage looks at one page.
func checkPage(page *io.SectionReader, h *format.PageHeader, codec format.CompressionCodec) error {
	values, encoding, levels, compressed := int32(0), format.Plain, int64(0), true
	switch h.Type {
	case format.DataPage:
		values, encoding = h.DataPageHeader.V.NumValues, h.DataPageHeader.V.Encoding
	case format.DataPageV2:
		v := h.DataPageHeaderV2.V
		values, encoding = v.NumValues, v.Encoding
		levels = int64(v.RepetitionLevelsByteLength) + int64(v.DefinitionLevelsByteLength)
		compressed = !v.IsCompressed.Valid || v.IsCompressed.V
	case format.DictionaryPage:
		values, encoding = h.DictionaryPageHeader.V.NumValues, h.DictionaryPageHeader.V.Encoding
	}
	size := int64(h.UncompressedPageSize)
	switch {
	case values < 0 || values > maxPageValues:
		return fmt.Errorf("it is said to have %d values; at most %d are read", values, maxPageValues)
	case size < 0 || size > maxPageBytes || page.Size() > maxPageBytes:
		return fmt.Errorf("it is said to have %d bytes; at most %d MiB are read; write the file with smaller pages", size, maxPageBytes>>20)
	case levels < 0 || levels > page.Size() || levels > size:
		return errors.New("its levels are longer than it is")
	case encoding == format.DeltaByteArray:
		return errors.New("its encoding is DELTA_BYTE_ARRAY, of which a short page may be endless; write the file with another one")
	case !compressed:
		return nil
	}
	body := io.NewSectionReader(page, levels, page.Size()-levels)
	return checkUnpacked(body, codec, size-levels)
}

// checkUnpacked makes sure that what is compressed has no more bytes than it is said to have.
func checkUnpacked(body *io.SectionReader, codec format.CompressionCodec, size int64) error {
	var unpacked io.Reader
	switch codec {
	case format.Snappy:
		head := make([]byte, min(10, body.Size()))
		if _, err := body.ReadAt(head, 0); err != nil && err != io.EOF {
			return err
		}
		if n, err := snappy.DecodedLen(head); err != nil || int64(n) > size {
			return fmt.Errorf("it has %d bytes, and is said to have %d (%v)", n, size, err)
		}
		return nil
	case format.Gzip:
		r, err := gzip.NewReader(body)
		if err != nil {
			return err
		}
		unpacked = r
	case format.Zstd:
		r, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return err
		}
		defer r.Close()
		unpacked = r
	default:
		return nil
	}
	n, err := io.Copy(io.Discard, io.LimitReader(unpacked, size+1))
	if err == nil && n > size {
		err = fmt.Errorf("it has more than the %d bytes that it is said to have", size)
	}
	return err
}
